import hashlib
import lzma
import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from attention_arena.splits import ExampleSplit
from attention_arena.task import Split, TaskData, TaskError
from attention_arena.testing import TaskCase, task_cases
from attention_arena_tasks import image
from attention_arena_tasks.image import cifar, data
from attention_arena_tasks.image.baselines import trivial_baselines
from attention_arena_tasks.image.data import ImageOptions, load, needs
from attention_arena_tasks.image.grey import to_grey
from tests.tasks.test_image_pickles import batch, python2_pickle

REAL = Path(__file__).parents[2] / "../shared/data/cifar10/cifar-10-batches-bin"
N = 4
"""Images of a batch in the files that are made here."""

Bytes = npt.NDArray[np.uint8]


def write(folder: Path, layout: cifar.Layout, n: int = N) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(cifar.BATCHES):
        labels, colours = batch(n, seed)
        records = np.concatenate([np.array(labels, np.uint8)[:, None], colours], axis=1)
        content = records.tobytes() if layout is cifar.BINARY else python2_pickle(labels, colours)
        (folder / f"{name}{layout.suffix}").write_bytes(content)
    (folder / "batches.meta").write_bytes(b"not read")
    return folder


def pack(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches")
    return archive


def official(path: Path | None) -> ImageOptions:
    return ImageOptions(source="official", path=path)


def arrays(split: Split) -> tuple[Bytes, Bytes]:
    assert isinstance(split, ExampleSplit)
    return split.targets, split.tokens.reshape(-1, 1024)


def splits(loaded: TaskData) -> dict[str, tuple[Bytes, Bytes]]:
    return {name: arrays(getattr(loaded, name)) for name in data.SIZES}


def left_over(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("case", task_cases(image.register_tasks()))
def test_it_keeps_the_contract(case: TaskCase, tmp_path: Path) -> None:
    case(tmp_path)


class TestGrey:
    def test_it_is_exact(self) -> None:
        colours = np.random.default_rng(0).integers(0, 256, (3000, 3), dtype=np.uint8)
        colours[:8] = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, 8).T
        greys = to_grey(np.repeat(colours, 1024, axis=1))
        assert (greys == greys[:, :1]).all()
        for colour, grey in zip(colours.tolist(), greys[:, 0].tolist(), strict=True):
            weighed = sum(Fraction(w, 10_000) * c for w, c in zip((2989, 5870, 1140), colour, strict=True))
            assert grey == int(weighed * Fraction(511, 510)), colour

    def test_black_and_white_stay_and_green_is_lighter_than_red_than_blue(self) -> None:
        white, red, green, blue = (to_grey(np.repeat([colour], 1024, axis=1).astype(np.uint8))[0, 0] for colour in (
            (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255),
        ))  # fmt: skip
        assert (white, red, green, blue) == (255, 76, 149, 29)
        assert not to_grey(np.zeros((1, 3072), np.uint8)).any()

    def test_single_precision_as_tensorflow_computes_it_differs_nowhere_by_more_than_one(self) -> None:
        colours = np.random.default_rng(1).integers(0, 256, (200, 3072), dtype=np.uint8)
        parts = np.split(colours.astype(np.float32) * np.float32(1 / 255), 3, axis=1)
        weighed = sum(np.float32(w) * part for w, part in zip((0.2989, 0.5870, 0.1140), parts, strict=True))
        away = to_grey(colours).astype(int) - (np.asarray(weighed) * np.float32(255.5)).astype(int)
        assert np.abs(away).max() <= 1
        assert (away != 0).mean() < 1e-4


class TestOfficial:
    def test_images_and_classes_come_in_the_files_order(self, tmp_path: Path) -> None:
        loaded = splits(load(official(write(tmp_path / "bin", cifar.BINARY)), tmp_path / "cache"))
        labels, colours = zip(*(batch(N, seed) for seed in range(6)), strict=True)
        train = np.concatenate(labels[:5]), to_grey(np.concatenate(colours[:5]))
        expected = {
            "train": (train[0][:18], train[1][:18]),
            "validation": (train[0][18:], train[1][18:]),
            "test": (np.array(labels[5]), to_grey(colours[5])),
        }
        for name, (targets, pixels) in expected.items():
            assert np.array_equal(loaded[name][0], targets)
            assert np.array_equal(loaded[name][1], pixels)

    def test_a_batch_is_whole_images_without_padding(self, tmp_path: Path) -> None:
        loaded = load(official(write(tmp_path / "bin", cifar.BINARY)), tmp_path / "cache")
        first = next(loaded.test.batches(3))
        assert first.tokens.shape == (3, 1024)
        assert first.valid is None
        assert first.tokens.min() < 20  # darkness is no padding

    def test_every_way_of_keeping_the_files_gives_the_same_data(self, tmp_path: Path) -> None:
        binary = write(tmp_path / "a" / "cifar-10-batches-bin", cifar.BINARY)
        python = write(tmp_path / "b" / "cifar-10-batches-py", cifar.PYTHON)
        kept = [tmp_path / "c" / layout.archive for layout in cifar.LAYOUTS]
        (tmp_path / "c").mkdir()
        places = [
            binary,
            binary.parent,
            python,
            python.parent,
            pack(binary, kept[0]),
            pack(python, kept[1]),
            kept[0].parent,
        ]
        hashes = {load(official(place), tmp_path / "cache").data_hash for place in places}
        assert len(hashes) == 1

    @pytest.mark.parametrize(("name", "layout"), list(zip(data.DATA_SETS, cifar.LAYOUTS, strict=True)))
    def test_without_a_path_it_reads_what_was_fetched(self, tmp_path: Path, name: str, layout: cifar.Layout) -> None:
        kept = tmp_path / "cache" / "official" / name
        kept.mkdir(parents=True)
        pack(write(tmp_path / "files", layout), kept / layout.archive)
        assert load(official(None), tmp_path / "cache").test.n_examples == N

    def test_without_anything_there_is_a_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match=r"cifar10 is not at .*arena data get cifar10.* or give `path`"):
            load(official(None), tmp_path)

    def test_only_the_published_images_are_official(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "bin", cifar.BINARY, n=10)
        assert load(official(path), tmp_path / "one").source.kind == "user"
        monkeypatch.setattr(cifar, "PER_BATCH", 10)
        monkeypatch.setattr(data, "SIZES", {"train": 45, "validation": 5, "test": 10})
        monkeypatch.setattr(cifar, "CHECKSUMS", {name: self.digest(path / f"{name}.bin") for name in cifar.BATCHES})
        assert load(official(path), tmp_path / "two").source.kind == "user"  # classes are not balanced
        for name in cifar.BATCHES:
            self.balance(path / f"{name}.bin")
        assert load(official(path), tmp_path / "three").source.kind == "user"  # another content
        monkeypatch.setattr(cifar, "CHECKSUMS", {name: self.digest(path / f"{name}.bin") for name in cifar.BATCHES})
        source = load(official(path), tmp_path / "four").source
        assert (source.kind, source.description) == ("official", "CIFAR-10 in grey, 45 + 5 + 10 images")
        assert cifar.inspect(path).complete

    def digest(self, file: Path) -> str:
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def balance(self, file: Path) -> None:
        records = np.frombuffer(file.read_bytes(), np.uint8).reshape(10, -1).copy()
        records[:, 0] = np.arange(10)
        file.write_bytes(records.tobytes())

    def test_changed_files_are_read_anew(self, tmp_path: Path) -> None:
        path = write(tmp_path / "bin", cifar.BINARY)
        before = load(official(path), tmp_path / "cache").data_hash
        write(path, cifar.BINARY, n=5)
        assert load(official(path), tmp_path / "cache").data_hash != before


class TestDamage:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return write(tmp_path / "bin", cifar.BINARY)

    def refused(self, path: Path, cache: Path, complaint: str) -> None:
        with pytest.raises(TaskError, match=complaint):
            load(official(path), cache)
        assert left_over(cache) == []
        inspection = cifar.inspect(path)
        assert not inspection.complete
        assert inspection.problems

    def test_a_cut_file_is_named_with_the_byte(self, path: Path, tmp_path: Path) -> None:
        file = path / "data_batch_3.bin"
        file.write_bytes(file.read_bytes()[:-7])
        complaint = (
            r"data_batch_3\.bin, byte 9,219: 3,066 bytes are left of a record of 3,073; .*this one 12,285; fetch"
        )
        self.refused(path, tmp_path / "cache", complaint)
        assert cifar.inspect(path).counts["data_batch_3"] == 0

    def test_an_empty_file_is_named(self, path: Path, tmp_path: Path) -> None:
        (path / "test_batch.bin").write_bytes(b"")
        self.refused(path, tmp_path / "cache", r"test_batch\.bin, byte 0: 0 bytes are left")

    def test_a_class_that_is_none_is_named_with_its_record(self, path: Path, tmp_path: Path) -> None:
        file = path / "data_batch_2.bin"
        content = bytearray(file.read_bytes())
        content[2 * 3073] = 10
        file.write_bytes(content)
        self.refused(
            path, tmp_path / "cache", r"data_batch_2\.bin, record 3 \(byte 6,146\): expected a class .* got 10"
        )

    def test_what_is_missing_is_named(self, path: Path, tmp_path: Path) -> None:
        for name in ("data_batch_4.bin", "test_batch.bin"):
            (path / name).unlink()
        self.refused(
            path, tmp_path / "cache", r"no data_batch_4\.bin, test_batch\.bin; expected CIFAR-10's six batches"
        )
        assert "data_batch_4.bin is missing" in cifar.inspect(path).problems

    def test_a_second_copy_is_named(self, path: Path, tmp_path: Path) -> None:
        write(path / "again", cifar.BINARY)
        self.refused(path, tmp_path / "cache", r"again/data_batch_1\.bin|a second data_batch_1\.bin")

    def test_a_hostile_pickle_is_named_and_does_nothing(self, tmp_path: Path) -> None:
        path = write(tmp_path / "py", cifar.PYTHON)
        target = tmp_path / "made"
        (path / "data_batch_1").write_bytes(b"cos\nmkdir\n(V%sp0\ntR." % str(target).encode())
        self.refused(path, tmp_path / "cache", r"data_batch_1, byte 0: it names os\.mkdir, which could run")
        assert not target.exists()

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b"\x80\x02}.", "expected a dictionary with a list 'labels' and an array 'data'"),
            (b"\x80\x02].", "expected a dictionary"),
            (python2_pickle([3, 1], np.zeros((3, 3072), np.uint8)), r"expected data of 2 x 3072 .* got \(3, 3072\)"),
            (python2_pickle([3, 1], np.zeros((2, 4096), np.uint8)), r"expected data of 2 x 3072 bytes"),
            (python2_pickle([3, 10], np.zeros((2, 3072), np.uint8)), "label 2: expected a class from 0 to 9, got 10"),
        ],
    )  # fmt: skip
    def test_a_pickle_of_something_else_is_named(self, tmp_path: Path, content: bytes, complaint: str) -> None:
        path = write(tmp_path / "py", cifar.PYTHON)
        (path / "data_batch_5").write_bytes(content)
        self.refused(path, tmp_path / "cache", rf"data_batch_5, {complaint}")

    def test_a_cut_archive_is_named(self, path: Path, tmp_path: Path) -> None:
        archive = pack(path, tmp_path / cifar.BINARY.archive)
        archive.write_bytes(archive.read_bytes()[:-20_000])
        self.refused(archive, tmp_path / "cache", "damaged or cut short")

    @pytest.mark.parametrize("name", ["nowhere", "cifar-10-binary.tar.gz", "folder"])
    def test_what_is_no_data_set_is_said_to_be_none(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"<html>not found</html>")
        self.refused(tmp_path / name, tmp_path / "cache", name)
        assert cifar.inspect(tmp_path / name).layout == ""

    def test_a_sound_set_of_another_size_is_usable_but_not_complete(self, path: Path) -> None:
        inspection = cifar.inspect(path)
        assert inspection.layout == "CIFAR-10, binary layout"
        assert inspection.counts == dict.fromkeys(cifar.BATCHES, N)
        assert inspection.usable
        assert "test_batch has 4 images, the published one 10,000" in inspection.problems


class TestOptions:
    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({"path": "x"}, "path is read with `source: official` only"),
            ({"source": "official", "n_train": 5}, "n_train: only the stand-in can have another size"),
            ({"source": "generated"}, "source"),
        ],
    )
    def test_options_that_do_not_belong_together_are_refused(self, settings: dict[str, object], complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint):
            ImageOptions.model_validate(settings)

    def test_a_variant_need_not_know_padding(self) -> None:
        asked = needs(ImageOptions())
        assert (asked.max_length, asked.causal) == (1024, False)
        assert {capability.name for capability in asked.capabilities} == {"BIDIRECTIONAL"}

    def test_the_published_archives_are_declared(self) -> None:
        (task,) = image.register_tasks()
        files = {each.name: each.files[0] for each in task.datasets}
        assert set(files) == {"cifar10", "cifar10-python"}
        for each in task.datasets:
            task.options(**each.options)
            assert each.files[0].urls[0].endswith(each.files[0].name)
        assert files["cifar10"].checksum == "md5:c32a1d4ab5d03f1284b67883e8d87530"


def test_baselines_are_what_their_names_say() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2], np.uint8)
    pixels = np.array([[0, 0], [0, 0], [0, 10], [255, 0], [0, 255], [0, 255]], np.uint8)
    test = np.array([0, 1, 2, 2], np.uint8), np.array([[1, 1], [250, 4], [2, 240], [200, 0]], np.uint8)
    assert trivial_baselines((labels, pixels), test) == {
        "majority class": 25.0,
        "commonest class at its mean brightness": 25.0,  # of 1, 127, 121 and 100, train has 127 alone; 0 is commonest
        "nearest class mean": 75.0,
    }


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not beside this checkout")
def test_the_published_batches_are_recognised(tmp_path: Path) -> None:
    for name in cifar.BATCHES:
        with lzma.open(REAL / f"{name}.bin.xz") as file:
            (tmp_path / f"{name}.bin").write_bytes(file.read())
    batches = cifar.read(tmp_path)
    train, test = [batches[name] for name in cifar.TRAIN], batches[cifar.TEST]
    assert [(len(images.labels), images.published) for images in train] == [(10_000, True)] * 5
    assert np.bincount(np.concatenate([images.labels for images in train])).tolist() == [5000] * 10
    assert (len(test.labels), test.published) == (1000, False)  # the first thousand are there
    assert np.bincount(test.labels).tolist() == [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]
    assert not cifar.is_published(batches)
    scores = trivial_baselines(train[0][:2], test[:2])
    assert 20 < scores["nearest class mean"] < 30
