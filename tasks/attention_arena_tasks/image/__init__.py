"""Catalogue entry of image classification pixel by pixel, as the Long Range Arena sets it."""

from __future__ import annotations

from collections.abc import Sequence

from attention_arena.datasets import DataSet, RemoteFile
from attention_arena.hooks import hookimpl
from attention_arena.task import Task
from attention_arena_tasks.image import cifar
from attention_arena_tasks.image.data import DATA_SETS, ImageOptions, load, needs

HOMEPAGE = "https://www.cs.toronto.edu/~kriz/"
PUBLISHED = (
    (cifar.BINARY, "md5:c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),
    (cifar.PYTHON, "md5:c58f30108f718f92721af3b95e74349a", 170_498_071),
)


def _data_set(name: str, layout: cifar.Layout, checksum: str, size: int) -> DataSet:
    return DataSet(
        name=name,
        summary=f"CIFAR-10, {layout.words}: 50,000 + 10,000 colour images of 32 x 32 pixels in ten classes",
        licence="none stated; its author asks to cite Krizhevsky 2009, Learning Multiple Layers of Features",
        homepage=f"{HOMEPAGE}cifar.html",
        files=(RemoteFile(layout.archive, (f"{HOMEPAGE}{layout.archive}",), checksum, size),),
        inspect=cifar.inspect,
        options={"source": "official"},
    )


IMAGE = Task(
    name="image",
    version=2,
    summary="Classify a grey image of 32 x 32 read pixel by pixel, 1024 of them: CIFAR-10, or a stand-in; ten classes.",
    paper="Tay et al. 2020, Long Range Arena; Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    options=ImageOptions,
    needs=needs,
    load=load,
    small_options={"n_train": 256, "n_validation": 64, "n_test": 64},
    datasets=tuple(_data_set(name, *published) for name, published in zip(DATA_SETS, PUBLISHED, strict=True)),
)


@hookimpl
def register_tasks() -> Sequence[Task]:
    """Register the task."""
    return [IMAGE]
