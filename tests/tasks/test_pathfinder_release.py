"""Pathfinder's official layout, in small folders and archives of our own, and in the reference images."""

import io
import os
import pickle
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attention_arena.task import TaskData, TaskError
from attention_arena_tasks.pathfinder import PATH_X, PATHFINDER, inspect, release
from attention_arena_tasks.pathfinder.data import PathfinderOptions, load
from attention_arena_tasks.pathfinder.inspection import inspect_path_x
from attention_arena_tasks.pathfinder.release import split_of

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "pathfinder32"
REAL /= "pathfinder32_curv_contour_length_14_10k.tar.xz"
needs_real_data = pytest.mark.skipif(not REAL.is_file(), reason="the reference images are not here")
HARD = "curv_contour_length_14"
N = 40
"""Images of the small releases, in two batches."""


def png(value: int, size: int = 32, mode: str = "L") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size), value, dtype=np.uint8)).convert(mode).save(file, "PNG")
    return file.getvalue()


def small_set(size: int = 32, length: int = 14, first: int = 1) -> dict[str, bytes]:
    """Return the files of a set: image i has grey `first + i` all over, and class 1 if i is a multiple of 3."""
    files = {}
    for batch in (0, 1):
        rows = []
        for i in range(N // 2):
            number = batch * N // 2 + i
            files[f"imgs/{batch}/sample_{i}.png"] = png(first + number, size)
            rows.append(f"imgs/{batch} sample_{i}.png {i} {int(number % 3 == 0)} 1.0 {length} 4 2 0.5 1 1")
        files[f"metadata/{batch}.npy"] = "".join(f"{row}\n" for row in rows).encode()
    return files


def write(folder: Path, files: dict[str, bytes], prefix: str = "") -> Path:
    for name, content in files.items():
        file = folder / prefix / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def under(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{prefix}{name}": content for name, content in files.items()}


def read(path: Path, cache: Path, **options: object) -> TaskData:
    return load(PathfinderOptions(source="official", path=path, **options), cache)  # type: ignore[arg-type]


def greys(data: TaskData) -> dict[int, int]:
    """Return the class of each image by its grey, over all splits."""
    found = {}
    for split in (data.train, data.validation, data.test):
        batch = next(split.batches(N))
        assert (batch.tokens == batch.tokens[:, :1]).all()
        found.update(zip(batch.tokens[:, 0].tolist(), batch.targets.tolist(), strict=True))
    return found


EXPECTED = {1 + i: int(i % 3 == 0) for i in range(N)}


class TestLayouts:
    @pytest.mark.parametrize(
        "prefix",
        ["", f"{HARD}/", f"pathfinder32/{HARD}/", f"lra_release/pathfinder32/{HARD}/",
         f"lra_release/lra_release/pathfinder32/{HARD}/"],
    )  # fmt: skip
    def test_images_are_found_at_every_level_packed_or_not(self, tmp_path: Path, prefix: str) -> None:
        folder = write(tmp_path / "files", small_set(), prefix)
        archive = pack(tmp_path / "release.gz", under(prefix, small_set()))
        unpacked, packed = (read(path, tmp_path / "cache") for path in (folder, archive))
        assert greys(unpacked) == EXPECTED
        assert unpacked.data_hash == packed.data_hash

    def test_the_inner_copy_is_read(self, tmp_path: Path) -> None:
        inner, outer = small_set(64), small_set(64, first=101)
        prefixes = (f"lra_release/pathfinder64/{HARD}/", f"lra_release/lra_release/pathfinder64/{HARD}/")
        files = under(prefixes[0], outer) | under(prefixes[1], inner)
        for path in (write(tmp_path / "files", files), pack(tmp_path / "release.tar.gz", files)):
            assert greys(read(path, tmp_path / "cache", size=64)) == EXPECTED

    def test_the_order_of_an_archive_does_not_matter(self, tmp_path: Path) -> None:
        files = small_set()
        forward, backward = (
            pack(tmp_path / f"{name}.tar.gz", dict(each))
            for name, each in (("forward", files.items()), ("backward", reversed(files.items())))
        )
        hashes = [read(path, tmp_path / "cache").data_hash for path in (forward, backward)]
        assert hashes[0] == hashes[1]

    def test_only_the_asked_size_and_difficulty_are_read(self, tmp_path: Path) -> None:
        files = under("pathfinder32/curv_baseline/", small_set(length=6, first=101))
        files |= under(f"pathfinder32/{HARD}/", small_set()) | under(f"pathfinder64/{HARD}/", small_set(64, first=201))
        path = write(tmp_path / "files", files)
        assert set(greys(read(path, tmp_path / "cache"))) == set(EXPECTED)
        assert set(greys(read(path, tmp_path / "cache", difficulty="curv_baseline"))) == set(range(101, 141))
        assert set(greys(read(path, tmp_path / "cache", size=64))) == set(range(201, 241))

    def test_path_x_reads_the_128_pixel_set(self, tmp_path: Path) -> None:
        path = write(tmp_path / "files", small_set(128), f"pathfinder128/{HARD}")
        data = PATH_X.load(PATH_X.options(source="official", path=path), tmp_path / "cache")
        assert greys(data) == EXPECTED
        assert data.max_length == 16_384

    def test_the_data_folder_is_looked_in_where_no_path_is_given(self, tmp_path: Path) -> None:
        (tmp_path / "official" / "lra").mkdir(parents=True)
        pack(tmp_path / "official" / "lra" / "lra_release.gz", under(f"lra_release/pathfinder32/{HARD}/", small_set()))
        assert greys(load(PathfinderOptions(source="official"), tmp_path)) == EXPECTED

    def test_changed_files_are_read_anew(self, tmp_path: Path) -> None:
        path = write(tmp_path / "files", small_set())
        before = read(path, tmp_path / "cache").data_hash
        write(path, {"metadata/0.npy": small_set()["metadata/0.npy"].replace(b" 0 1.0 14", b" 1 1.0 14")})
        os.utime(path / "metadata" / "0.npy", (1, 1))
        assert read(path, tmp_path / "cache").data_hash != before


class TestSource:
    def test_only_the_releases_count_is_official(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "files", small_set())
        source = read(path, tmp_path / "cache").source
        assert (source.kind, source.licence) == ("user", None)
        assert "not its 200,000" in source.description
        monkeypatch.setattr(release, "N_IMAGES", N)
        source = read(path, tmp_path / "other cache").source
        assert (source.kind, source.licence) == ("official", "Apache-2.0")

    def test_empty_images_are_skipped_and_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "files", small_set() | {"imgs/1/sample_3.png": b"", "imgs/0/sample_2.png": b""})
        monkeypatch.setattr(release, "N_IMAGES", N)
        data = read(path, tmp_path / "cache")
        assert greys(data) == {grey: label for grey, label in EXPECTED.items() if grey not in (3, 24)}
        assert "2 empty images skipped" in data.source.description
        assert data.source.kind == "user", "the release has none here"

    def test_the_releases_own_empty_image_is_official(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "files", small_set(length=6) | {"imgs/0/sample_2.png": b""})
        monkeypatch.setattr(release, "N_IMAGES", N)
        monkeypatch.setitem(release.EMPTY, (32, "curv_baseline"), ("imgs/0/sample_2.png",))
        source = read(path, tmp_path / "cache", difficulty="curv_baseline").source
        assert source.kind == "official"
        assert "1 empty image skipped" in source.description


class TestSplit:
    def test_the_split_is_published_and_never_changes(self) -> None:
        names = [f"imgs/{batch}/sample_{i}.png" for batch in range(20) for i in range(1000)]
        counts = Counter(map(split_of, names))
        # Three standard deviations of a share of a tenth.
        assert abs(counts["test"] - 2000) < 130
        assert abs(counts["validation"] - 2000) < 130
        others = {i: split_of(name) for i, name in enumerate(names[:52]) if split_of(name) != "train"}
        assert others == {4: "test", 9: "validation", 12: "validation", 22: "test", 23: "validation", 51: "validation"}

    def test_an_image_keeps_its_split_in_any_selection(self, tmp_path: Path) -> None:
        read(write(tmp_path / "files", small_set()), tmp_path / "cache")
        (ready,) = (tmp_path / "cache" / "pathfinder").glob("read-*")
        paths = {name: (ready / f"{name}.paths.txt").read_text().split() for name in ("train", "validation", "test")}
        assert sorted(path for each in paths.values() for path in each) == sorted(
            name for name in small_set() if name.startswith("imgs/")
        )
        assert all(split_of(path) == name for name, each in paths.items() for path in each)


class TestDamage:
    BROKEN = (
        ({"imgs/0/sample_4.png": png(9, 31)}, r"(files/|: )imgs/0/sample_4\.png: expected 32 x 32 pixels, got 31 x 31"),
        ({"imgs/0/sample_4.png": b"GIF89a..."}, r"imgs/0/sample_4\.png: not a PNG image"),
        ({"imgs/1/sample_4.png": png(9)[:50]}, r"imgs/1/sample_4\.png: (damaged|not a) PNG image"),
        ({"imgs/0/sample_4.png": png(9, mode="I;16")}, r"sample_4\.png: expected 8-bit grey, got Pillow's mode I"),
        ({"imgs/0/sample_4.png": None}, r"(files/|: )imgs/0/sample_4\.png is listed but not there"),
        ({"metadata/1.npy": b"imgs/1 sample_0.png 0 2 1.0 14"}, r"1\.npy, line 1: expected class 0 or 1 .*got '2'"),
        ({"metadata/1.npy": b"imgs/1 sample_0.png 0 1 1.0 9"}, r"line 1: contour length '9' .* mixed up"),
        ({"metadata/1.npy": b"imgs/1 sample_0.png 0"}, r"1\.npy, line 1: expected a folder, a file"),
        ({"metadata/1.npy": b"../1 passwd 0 1 1.0 14"}, r"line 1: expected an image `imgs/<k> sample_<i>\.png`"),
        ({"metadata/1.npy": 2 * b"imgs/1 sample_0.png 0 1 1.0 14\n"}, r"line 2: imgs/1/sample_0\.png has a line"),
        ({"metadata/1.npy": b"imgs/1 sample_\xff.png"}, r"1\.npy, byte 14: not plain text"),
    )  # fmt: skip

    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
    @pytest.mark.parametrize(("change", "complaint"), BROKEN)
    def test_damage_is_named_and_leaves_nothing_behind(
        self, tmp_path: Path, change: dict[str, bytes | None], complaint: str, packed: bool
    ) -> None:
        files = {name: content for name, content in (small_set() | change).items() if content is not None}
        path = pack(tmp_path / "release.tar", files) if packed else write(tmp_path / "files", files)
        with pytest.raises(TaskError, match=complaint):
            read(path, tmp_path / "cache")
        assert [each.name for each in (tmp_path / "cache" / "pathfinder").iterdir() if each.suffix != ".lock"] == []

    def test_pickled_metadata_is_refused_and_never_opened(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple[object, tuple[object, ...]]:
                return Path.touch, (tmp_path / "sprung",)

        file = io.BytesIO()
        np.save(file, np.array([[Trap()]], dtype=object), allow_pickle=True)
        assert pickle.dumps(Trap())
        path = write(tmp_path / "files", small_set() | {"metadata/0.npy": file.getvalue()})
        with pytest.raises(TaskError, match=r"0\.npy is a binary NumPy file.*not opened.*numpy\.savetxt"):
            read(path, tmp_path / "cache")
        assert any("binary NumPy" in problem for problem in inspect(path).problems)
        assert not (tmp_path / "sprung").exists()

    def test_an_archive_that_is_cut_short_is_named(self, tmp_path: Path) -> None:
        path = pack(tmp_path / "release.tar.gz", small_set())
        path.write_bytes(path.read_bytes()[:-600])
        with pytest.raises(TaskError, match="damaged or cut short"):
            read(path, tmp_path / "cache")

    def test_another_set_is_an_error_with_a_way_out(self, tmp_path: Path) -> None:
        path = write(tmp_path / "files", small_set(64), f"pathfinder64/{HARD}")
        with pytest.raises(TaskError, match=r"no Pathfinder images of 32 x 32 .* leave `source` at `generated`"):
            read(path, tmp_path / "cache")

    def test_too_few_images_for_three_splits_are_an_error(self, tmp_path: Path) -> None:
        files = small_set() | {"metadata/0.npy": b"imgs/0 sample_0.png 0 1 1.0 14\n", "metadata/1.npy": b""}
        with pytest.raises(TaskError, match="has 1 images, and none of them falls into"):
            read(write(tmp_path / "files", files), tmp_path / "cache")


class TestInspection:
    def test_a_release_is_described(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = under(f"lra_release/pathfinder32/{HARD}/", small_set() | {"imgs/0/sample_2.png": b""})
        files |= under("lra_release/pathfinder128/curv_baseline/", small_set(128, length=6, first=101))
        files |= under("lra_release/lra_release/pathfinder128/curv_baseline/", small_set(128, length=6))
        for path in (write(tmp_path / "files", files), pack(tmp_path / "release.gz", files)):
            inspection = inspect(path)
            assert inspection.counts == {f"pathfinder32/{HARD}": N - 1, "pathfinder128/curv_baseline": N}
            assert inspection.usable
            assert not inspection.complete
            text = "\n".join(inspection.problems)
            assert "imgs/0/sample_2.png is empty" in text
            assert "lists 40 images, 14 of them connected; the release lists 200,000" in text
            assert "not the outer copy lra_release/pathfinder128/curv_baseline/" in text
            assert "not there: pathfinder32/curv_baseline, " in text
            assert inspect_path_x(path).counts == {"pathfinder128/curv_baseline": N}

    @pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
    def test_a_lone_set_is_recognised_by_its_content(self, tmp_path: Path, packed: bool) -> None:
        files = small_set(64, length=9)
        path = pack(tmp_path / "some.tar", files) if packed else write(tmp_path / "files", files)
        assert inspect(path).counts == {"pathfinder64/curv_contour_length_9": N}
        assert inspect_path_x(path).layout == ""

    def test_everything_being_there_is_complete(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("release", "inspection"):
            monkeypatch.setattr(f"attention_arena_tasks.pathfinder.{module}.N_IMAGES", N)
        monkeypatch.setitem(release.EMPTY, (32, "curv_baseline"), ("imgs/0/sample_2.png",))
        path = tmp_path / "files"
        for size in (32, 64, 128, 256):
            for difficulty, length in (("curv_baseline", 6), ("curv_contour_length_9", 9), (HARD, 14)):
                write(path, small_set(size, length), f"pathfinder{size}/{difficulty}")
        assert not inspect(path).complete, "one image is empty in the release"
        write(path, {"pathfinder32/curv_baseline/imgs/0/sample_2.png": b""})
        assert inspect(path).complete
        assert inspect_path_x(path).complete
        write(path, {"pathfinder32/curv_baseline/imgs/1/sample_2.png": b"not an image"})
        damaged = inspect(path)
        assert not damaged.complete
        assert damaged.counts["pathfinder32/curv_baseline"] == 0
        assert "imgs/1/sample_2.png: not a PNG image" in damaged.problems[0]
        assert inspect_path_x(path).complete

    def test_nothing_is_raised_whatever_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"no archive")
        (tmp_path / "empty" / "metadata").mkdir(parents=True)
        pack(tmp_path / "cut.tar.gz", small_set())
        (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "cut.tar.gz").read_bytes()[:-600])
        for name in ("file", "empty", "cut.tar.gz", "not there"):
            inspection = inspect(tmp_path / name)
            assert inspection.problems
            assert not inspection.usable

    def test_both_tasks_declare_the_same_files(self) -> None:
        first, second = PATHFINDER.datasets[0], PATH_X.datasets[0]
        assert (first.name, first.files, first.options) == (second.name, second.files, {"source": "official"})


@needs_real_data
@pytest.mark.slow
class TestReferenceImages:
    def test_the_reference_images_load_and_pass_inspection(self, tmp_path: Path) -> None:
        data = read(REAL, tmp_path)
        counts = [split.n_examples for split in (data.train, data.validation, data.test)]
        assert counts == [7976, 1002, 1022]
        assert data.source.kind == "user"
        labels = np.concatenate([split.targets for split in (data.train, data.validation, data.test)])
        assert labels.sum() == 5048
        inspection = inspect(REAL)
        assert inspection.counts == {f"pathfinder32/{HARD}": 10_000}
        assert inspection.usable
        assert [problem for problem in inspection.problems if "lists 10,000 images, 5,048 of them connected" in problem]
        assert len(inspection.problems) == 2, "and the other sets, which are not there"
