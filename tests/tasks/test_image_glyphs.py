from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from attention_arena.splits import ExampleSplit
from attention_arena_tasks.image import glyphs
from attention_arena_tasks.image.data import ImageOptions, draw, load

SMALL = {"n_train": 200, "n_validation": 40, "n_test": 60}


def options(**settings: int) -> ImageOptions:
    return ImageOptions.model_validate({**SMALL, **settings})


def test_a_seed_is_the_data(tmp_path: Path) -> None:
    assert load(options(), tmp_path).data_hash[:16] == "58a3f6d96cffa9b3"


def test_another_seed_is_other_data_and_a_larger_train_split_leaves_the_test_alone() -> None:
    first, other, larger = (draw(options(**change))["test"][1] for change in ({}, {"seed": 1}, {"n_train": 300}))
    assert np.array_equal(first, larger)
    assert not np.array_equal(first, other)


def test_images_do_not_depend_on_how_many_are_drawn_at_a_time() -> None:
    together = glyphs.draw(np.random.PCG64(0), 30)
    bits = np.random.PCG64(0)
    apart = [glyphs.draw(bits, n) for n in (7, 23)]
    for one, parts in zip(together, zip(*apart, strict=True), strict=True):
        assert np.array_equal(one, np.concatenate(parts))


@pytest.mark.parametrize("side", [16, 8])
def test_a_pixel_of_a_shorter_side_is_the_mean_of_a_block(tmp_path: Path, side: int) -> None:
    whole, reduced = (draw(options(side=pixels))["test"][1] for pixels in (32, side))
    step = 32 // side
    means = whole.reshape(-1, side, step, side, step).mean(axis=(2, 4)).reshape(-1, side**2)
    assert reduced.shape == (60, side**2)
    assert np.abs(reduced - means).max() <= 0.5
    data = load(options(side=side), tmp_path)
    assert data.max_length == side**2
    assert f"{side} x {side}" in data.source.description
    assert data.data_hash != load(options(), tmp_path).data_hash


def test_official_images_keep_their_side() -> None:
    with pytest.raises(ValueError, match="side must be 32 with `source: official`, got 16"):
        ImageOptions(source="official", side=16)


def test_no_image_occurs_twice_and_every_class_does() -> None:
    parts = draw(options(n_train=2000)).values()
    images = np.concatenate([pixels for _, pixels in parts])
    assert len(np.unique(images, axis=0)) == len(images)
    counts = np.bincount(np.concatenate([labels for labels, _ in parts]), minlength=10)
    assert ((counts - 210) ** 2 / 210).sum() < 27.9  # chi-square, 9, p = 0.001


def test_it_is_a_stand_in_that_does_not_pass_for_cifar(tmp_path: Path) -> None:
    data = load(options(), tmp_path)
    assert data.source.kind == "stand-in"
    assert "glyphs, not CIFAR-10" in data.source.description
    assert isinstance(data.train, ExampleSplit)
    assert (data.train.n_examples, data.validation.n_examples, data.test.n_examples) == (200, 40, 60)


def test_it_is_not_solved_by_brightness_nor_by_class_means(tmp_path: Path) -> None:
    scores = load(options(n_train=6000, n_test=2000), tmp_path).trivial_baselines
    assert scores["majority class"] < 13
    assert scores["commonest class at its mean brightness"] < 16
    # As CIFAR-10's grey images: 26.5 on its first 1,000 test images, 25.9 at half the side.
    assert 20 < scores["nearest class mean"] < 32


def distance(point: npt.NDArray[np.float64], start: npt.NDArray[np.int32], stop: npt.NDArray[np.int32]) -> float:
    """Return how far a point is from a straight stroke, in floating point."""
    span = (stop - start).astype(float)
    share = 0.0 if not span.any() else float(np.clip((point - start) @ span / (span @ span), 0, 1))
    return float(np.hypot(*(point - start - share * span)))


def test_ink_is_full_within_the_radius_and_ends_a_pixel_later() -> None:
    random = np.random.default_rng(0)
    starts, stops = (random.integers(0, 256, (5, 2, 2), dtype=np.int32) for _ in range(2))
    stops[0, 1] = starts[0, 1]  # a dot
    radius = np.array([6, 8, 9, 10, 12], dtype=np.int32)
    ink = glyphs._ink(glyphs.Strokes(starts, stops), radius)
    for image in range(5):
        for row, column in random.integers(0, 32, (200, 2)):
            point = np.array([column, row]) * 8 + 4.0
            away = min(distance(point, starts[image, s], stops[image, s]) for s in range(2)) - radius[image]
            shade = int(ink[image, row, column])
            assert 0 <= shade <= 256
            # The nearest point is sought in steps of a 32nd of a stroke, which may be 8 eighths of a pixel long.
            if away < -7:
                assert shade >= 250
            if away > 4:
                assert shade == 0


@pytest.mark.parametrize("label", range(10))
def test_a_glyph_without_slant_is_its_drawing(label: int) -> None:
    strokes = glyphs.Strokes(glyphs.TEMPLATES.start[[label]] * 20 + 128, glyphs.TEMPLATES.stop[[label]] * 20 + 128)
    ink = glyphs._ink(strokes, np.array([12], dtype=np.int32))[0]
    for line in glyphs.GLYPHS[label]:
        for x, y in line:
            assert ink[(y * 20 + 128) // 8, (x * 20 + 128) // 8] >= 250
    corners = {(x, y) for line in glyphs.GLYPHS[label] for x, y in line}
    for x, y in {(-4, -4), (4, -4), (-4, 4), (4, 4)} - corners:
        assert ink[(y * 20 + 128) // 8, (x * 20 + 128) // 8] == 0
