"""What Pathfinder's generated images show: geometry, classes, and pixels against Pillow and reference images."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from attention_arena_tasks.pathfinder.draw import render
from attention_arena_tasks.pathfinder.first_paddles import first_paddles
from attention_arena_tasks.pathfinder.generate import NOWHERE, Geometry, Range, grow_images
from attention_arena_tasks.pathfinder.recipe import CONTOUR_LENGTH, LOOKS, Look, Recipe, recipe_of
from attention_arena_tasks.pathfinder.release import find, load_pixels
from attention_arena_tasks.pathfinder.stamps import DIRECTIONS, stamps

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "pathfinder32"
REAL /= "pathfinder32_curv_contour_length_14_10k.tar.xz"
SETS = [(32, "curv_contour_length_14", 60), (64, "curv_contour_length_9", 30), (128, "curv_contour_length_9", 20),
        (256, "curv_contour_length_14", 12), (32, "curv_baseline", 60)]  # fmt: skip


@pytest.fixture(scope="module", params=SETS, ids=lambda each: f"{each[0]}-{each[1]}")
def drawn(request: pytest.FixtureRequest) -> tuple[Recipe, Geometry, np.ndarray]:
    size, difficulty, n = request.param
    recipe = recipe_of(size, difficulty)
    geometry = grow_images(recipe, Range(5, 0, 0, n))
    return recipe, geometry, render(recipe, geometry)


def ends(paddle: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends, y and x, of a paddle; exact, where the generator has tables."""
    y, x, direction = paddle.tolist()
    turn = 2 * math.pi * direction / DIRECTIONS
    start = np.array([y, x], dtype=float)
    return start, start + length * np.array([math.sin(turn), math.cos(turn)])


def snakes_of(geometry: Geometry, i: int) -> Iterator[np.ndarray]:
    for paddles in geometry.paddles[i]:
        there = paddles[paddles[:, 0] != NOWHERE]
        if len(there):
            yield there


def contradictions(
    geometry: Geometry, images: np.ndarray, n_snakes: np.ndarray, bridge: float
) -> tuple[int, list[int]]:
    """Return how many images fall into as many parts as they have snakes, and which of those have the wrong class.

    Parts are what hangs together once gaps of twice the margin and twice `bridge` are closed.
    """
    clear, wrong = 0, []
    for i, image in enumerate(images):
        near = ndimage.distance_transform_edt(image < 70) <= int(geometry.margins[i]) + bridge
        parts, n_parts = ndimage.label(near, structure=np.ones((3, 3)))
        if n_parts != n_snakes[i]:
            continue  # snakes that lie close to each other cannot be told apart in this simple way
        clear += 1
        first, second = (parts[y, x] for y, x in geometry.markers[i])
        if (first == second) != bool(geometry.labels[i]):
            wrong.append(i)
    return clear, wrong


class TestGeometry:
    def test_a_snake_is_a_chain_of_paddles(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        recipe, geometry, _ = drawn
        sharpest = math.pi / 2 / max(recipe.look.continuity, 1.0) + 0.6  # of courses that are rounded to pixels
        for i in range(len(geometry.labels)):
            gap = 2 * int(geometry.margins[i])
            for snake in snakes_of(geometry, i):
                # The first paddle runs from its first end; the others were drawn back from where they end.
                tips = [ends(snake[0], recipe.look.length)]
                tips += [ends(paddle, recipe.look.length)[::-1] for paddle in snake[1:]]
                for (start, tip), (next_start, next_tip) in pairwise(tips):
                    assert np.linalg.norm(next_start - tip) <= gap + 3, "rounding moves an end by about a pixel"
                    turn = np.arctan2(*(next_tip - next_start)) - np.arctan2(*(tip - start))
                    assert abs((turn + math.pi) % (2 * math.pi) - math.pi) < sharpest

    def test_markers_and_paddles_agree_with_the_class(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        geometry = drawn[1]
        for i, label in enumerate(geometry.labels):
            origins = geometry.paddles[i, :2, 0, :2].tolist()
            tips = geometry.paddles[i, :2, -1, :2].tolist()
            begins, stops = geometry.markers[i].tolist()
            assert origins[0] != origins[1]
            assert tips[0] != tips[1]
            assert (origins.index(begins) == tips.index(stops)) == bool(label)

    def test_classes_are_balanced_in_every_pair(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        labels = drawn[1].labels
        assert (labels[::2] + labels[1::2] == 1).all()
        assert set(labels[::2].tolist()) == {0, 1}, "which of the two is not always the same"

    def test_either_target_may_carry_the_first_marker(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        geometry = drawn[1]
        first = (geometry.markers[:, 0] == geometry.paddles[:, 0, 0, :2]).all(axis=1)
        assert 0.2 < first.mean() < 0.8

    def test_snakes_have_the_settings_of_the_arena(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        recipe, geometry, _ = drawn
        there = (geometry.paddles[..., 0] != NOWHERE).sum(axis=2)
        assert (there[:, :2] == recipe.contour_length).all()
        assert set(np.unique(there[:, 2:])) <= {0, recipe.contour_length // 3}
        assert there.shape[1] - 2 == recipe.look.distractor_paddles // (recipe.contour_length // 3)
        assert set(geometry.margins.tolist()) == set(recipe.look.margins)
        apart = np.linalg.norm(geometry.paddles[:, 0, 0, :2] - geometry.paddles[:, 1, 0, :2].astype(float), axis=1)
        assert abs(apart - recipe.look.seed_distance).max() <= 1.5, "rounded up to pixels"
        y_x = geometry.paddles[..., :2][geometry.paddles[..., 0] != NOWHERE]
        assert y_x.min() >= recipe.look.padding
        assert y_x.max() < recipe.size - recipe.look.padding

    def test_paddles_do_not_lie_on_each_other(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        recipe, geometry, _ = drawn
        for i in range(len(geometry.labels)):
            middles = [
                (k, n, np.mean(ends(paddle, recipe.look.length), axis=0))
                for k, snake in enumerate(snakes_of(geometry, i))
                for n, paddle in enumerate(snake)
                if n > 0  # only the middle of a first paddle is looked at
            ]
            for a, (k, n, middle) in enumerate(middles):
                for m, o, other in middles[a + 1 :]:
                    at_once = {k, m} == {0, 1} and abs(
                        n - o
                    ) <= 1  # heads that grow together may meet, as in the original
                    assert k == m or at_once or np.linalg.norm(middle - other) >= 1.0


class TestFirstPaddles:
    """Where a first paddle may lie, against the original's dilation, written out."""

    @pytest.mark.parametrize(("size", "share"), [(32, 0.085), (64, 0.23), (128, 1.0), (256, 1.0)])
    def test_a_direction_is_open_where_the_originals_dilation_reads_inside_everywhere(
        self, size: int, share: float
    ) -> None:
        look = LOOKS[size]
        room = stamps(look, look.margins[0]).room
        first = first_paddles(room)
        assert first.is_open.mean() == pytest.approx(share, abs=0.01)
        for direction in range(0, DIRECTIONS, 16):
            full = room.value[direction] == 255
            footprint = np.stack([room.y[direction][full] + 1, room.x[direction][full] + 1], axis=1)
            assert bool(first.is_open[direction]) == reads_inside(footprint)
            assert first.low[direction].tolist() == footprint.min(axis=0).tolist()
            assert first.high[direction].tolist() == footprint.max(axis=0).tolist()

    @pytest.mark.parametrize(("size", "low", "high"), [(32, 0.8, 1.6), (128, 6.5, 8.0), (256, 6.5, 7.0)])
    def test_small_images_have_few_distractors(self, size: int, low: float, high: float) -> None:
        # The reference generator: 1.1 of 5 in 60 images, 7.8 of 8 in 15, 7 of 7 in 15.
        geometry = grow_images(recipe_of(size, "curv_contour_length_14"), Range(4, 0, 0, 200 if size == 32 else 12))
        assert low <= (geometry.paddles[:, 2:, 0, 0] != NOWHERE).sum(axis=1).mean() <= high

    def test_the_first_target_begins_in_an_open_direction(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        recipe, geometry, _ = drawn
        for margin, paddle in zip(geometry.margins.tolist(), geometry.paddles[:, 0, 0].tolist(), strict=True):
            assert first_paddles(stamps(recipe.look, margin).room).is_open[paddle[2]]


def reads_inside(footprint: np.ndarray) -> bool:
    """Return whether every pixel of an image of 40 x 40 has a pixel of the image under its footprint (Q, 2)."""
    corners = np.array([[y, x] for y in range(40) for x in range(40)])
    under = corners[:, None, :] + footprint
    return bool(((under >= 0) & (under < 40)).all(axis=2).any(axis=1).all())


class TestClasses:
    """Of images whose snakes keep apart, pixels alone tell the class."""

    def targets(self, size: int) -> tuple[Recipe, Geometry, np.ndarray]:
        """Return 150 images without distractors."""
        recipe = recipe_of(size, "curv_baseline")
        geometry = grow_images(recipe, Range(1, 0, 0, 150))
        geometry.paddles[:, 2:] = NOWHERE
        return recipe, geometry, render(recipe, geometry)

    @pytest.mark.parametrize(("size", "at_least"), [(32, 20), (64, 50), (128, 80)])
    def test_pixels_of_the_targets_agree_with_the_class(self, size: int, at_least: int) -> None:
        _, geometry, images = self.targets(size)
        clear, wrong = contradictions(geometry, images, np.full(150, 2), bridge=1.0)
        assert clear >= at_least
        assert wrong == []

    def test_a_wrong_class_would_be_noticed(self) -> None:
        _, geometry, images = self.targets(128)
        swapped = geometry._replace(labels=1 - geometry.labels)
        clear, wrong = contradictions(swapped, images, np.full(150, 2), bridge=1.0)
        assert len(wrong) == clear >= 80

    def test_pixels_agree_with_the_class_among_distractors(self) -> None:
        recipe = recipe_of(256, "curv_baseline")
        geometry = grow_images(recipe, Range(2, 0, 0, 100))
        n_snakes = (geometry.paddles[:, :, 0, 0] != NOWHERE).sum(axis=1)
        clear, wrong = contradictions(geometry, render(recipe, geometry), n_snakes, bridge=0.75)
        assert clear >= 8
        assert wrong == []


class TestPixels:
    def test_images_use_the_whole_range_of_greys(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        recipe, _, images = drawn
        assert images.shape[1:] == (recipe.size, recipe.size)
        assert images.dtype == np.uint8
        assert (images.max(axis=(1, 2)) == 255).all()
        assert (np.median(images, axis=(1, 2)) <= 5).all(), "the ground is black, but for ripples"

    def test_markers_are_bright_discs(self, drawn: tuple[Recipe, Geometry, np.ndarray]) -> None:
        recipe, geometry, images = drawn
        for image, markers in zip(images, geometry.markers, strict=True):
            for y, x in markers:
                assert image[y, x] >= 255 * 100 / max(200, 1.2 * recipe.look.distractor_contrast)

    @pytest.mark.parametrize("size", [32, 64, 128, 256])
    def test_paddles_are_as_bright_as_pillows(self, size: int) -> None:
        look = LOOKS[size]
        ours = stamps(look, look.margins[0]).line.astype(float)[::8]
        theirs = np.stack([pillows_paddle(look, look.margins[0], d) for d in range(0, DIRECTIONS, 8)])
        np.testing.assert_allclose(ours[0], theirs[0], atol=1)  # along x
        # Pillow rounds the edges of thick lines in its own way, an octant unlike the next.
        assert ours.sum() == pytest.approx(theirs.sum(), rel=0.1)

    def test_thin_paddles_are_pillows_but_for_ties(self) -> None:
        ours = stamps(LOOKS[32], 1).line.astype(float)
        theirs = np.stack([pillows_paddle(LOOKS[32], 1, direction) for direction in range(DIRECTIONS)])
        same = abs(ours - theirs).max(axis=(1, 2)) <= 1
        assert same.mean() > 0.75
        assert ours.max() == pytest.approx(theirs.max(), abs=1)

    @pytest.mark.skipif(not REAL.is_file(), reason="the reference images are not here")
    def test_target_snakes_look_as_in_the_reference_images(self) -> None:
        recipe = recipe_of(32, "curv_contour_length_14")
        found = find(REAL, 32, "curv_contour_length_14")
        some = {name: label for name, label in found.labels.items() if name.startswith(("imgs/0/", "imgs/1/"))}
        theirs: list[np.ndarray] = []
        load_pixels(found._replace(labels=some), lambda name, image: theirs.append(image))
        geometry = grow_images(recipe, Range(0, 0, 0, 300))
        geometry.paddles[:, 2:] = NOWHERE
        ours = render(recipe, geometry)
        # Where two pixels side by side are as bright as any, a marker is, so that hardly a distractor is there.
        alone = np.stack([image for image in theirs if ((image[:, 1:] == 255) & (image[:, :-1] == 255)).any()])
        alone = alone[(alone > 77).sum(axis=(1, 2)) < 118]  # what is brighter has a distractor after all
        assert len(alone) > 200
        for statistic, tolerance in ((lit, 0.04), (crowded, 0.10), (n_parts, 0.08)):
            assert np.mean(list(map(statistic, ours))) == pytest.approx(
                np.mean(list(map(statistic, alone))), rel=tolerance
            )

    @pytest.mark.skipif(not REAL.is_file(), reason="the reference images are not here")
    def test_whole_images_are_as_full_as_the_reference_images(self) -> None:
        recipe = recipe_of(32, "curv_contour_length_14")
        found = find(REAL, 32, "curv_contour_length_14")
        some = {name: label for name, label in found.labels.items() if name.startswith("imgs/0/")}
        theirs: list[np.ndarray] = []
        load_pixels(found._replace(labels=some), lambda name, image: theirs.append(image))
        ours = render(recipe, grow_images(recipe, Range(0, 0, 0, 500)))
        # Two more distractors an image would light 35 pixels more of 120.
        for statistic in (lit, n_parts):
            assert np.mean(list(map(statistic, ours))) == pytest.approx(np.mean(list(map(statistic, theirs))), rel=0.06)


def lit(image: np.ndarray) -> float:
    return float((image > 77).sum())


def crowded(image: np.ndarray) -> float:
    return float((ndimage.uniform_filter((image > 77).astype(float), 3) * 9 > 4.5).sum())


def n_parts(image: np.ndarray) -> float:
    return float(ndimage.label(image > 77, structure=np.ones((3, 3)))[1])


def pillows_paddle(look: Look, margin: int, direction: int) -> np.ndarray:
    """Return a paddle as Pillow draws it on a grid twice as fine and reduces it."""
    reach = look.length + math.ceil(look.thickness / 2) + margin
    middle, turn = 2 * reach, 2 * math.pi * direction / DIRECTIONS
    fine = Image.new("L", (4 * reach + 1, 4 * reach + 1))
    y, x = (math.ceil(round(middle + 2 * look.length * part, 6)) for part in (math.sin(turn), math.cos(turn)))
    ImageDraw.Draw(fine).line([(middle, middle), (x, y)], fill=255, width=look.thickness)
    return np.asarray(fine.resize((2 * reach + 1, 2 * reach + 1), Image.Resampling.LANCZOS), dtype=float)


def test_every_size_and_difficulty_has_a_recipe() -> None:
    recipes = [recipe_of(size, difficulty) for size in LOOKS for difficulty in CONTOUR_LENGTH]
    assert {recipe.n_distractors for recipe in recipes if recipe.contour_length == 14} == {5, 7, 8}
    assert {recipe.distractor_length for recipe in recipes} == {2, 3, 4}
