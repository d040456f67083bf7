from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attention_arena.testing import TaskCase, task_cases
from attention_arena.variant import ModelShape
from attention_arena_tasks.image import IMAGE
from attention_arena_tasks.image.data import ImageOptions, load
from attention_arena_tasks.image.values import DEVIATION, MEAN, PixelValues

SHAPE = ModelShape(d_model=8, n_heads=2, max_length=64)
VALUES = replace(IMAGE, small_options={**IMAGE.small_options, "side": 8, "pixels": "values"})


@pytest.mark.parametrize("case", task_cases([VALUES]))
def test_it_keeps_the_contract(case: TaskCase, tmp_path: Path) -> None:
    case(tmp_path)


def test_a_grey_is_a_number_times_one_vector_and_another_one_added() -> None:
    torch.manual_seed(0)
    embedding = PixelValues(8)
    torch.nn.init.normal_(embedding.offset)
    vectors = embedding(torch.tensor([[0, 100, 255]]))
    for grey, vector in zip((0, 100, 255), vectors[0], strict=True):
        assert torch.allclose(vector, (grey - MEAN) / DEVIATION * embedding.weight + embedding.offset, atol=1e-6)


def test_the_option_changes_how_greys_are_read_and_not_the_greys(tmp_path: Path) -> None:
    small = {"side": 8, "n_train": 64, "n_validation": 8, "n_test": 8}
    symbols, values = (
        load(ImageOptions.model_validate({**small, "pixels": way}), tmp_path) for way in ("symbols", "values")
    )
    assert symbols.data_hash == values.data_hash
    counts = [
        sum(weight.numel() for weight in data.objective.build_embedding(SHAPE, data.vocab_size).parameters())
        for data in (symbols, values)
    ]
    assert counts == [256 * 8, 2 * 8]
