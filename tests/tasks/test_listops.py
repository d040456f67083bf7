import lzma
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from attention_arena.archives import Stream
from attention_arena.splits import ExampleSplit
from attention_arena.task import TaskError
from attention_arena_tasks import listops
from attention_arena_tasks.listops import release
from attention_arena_tasks.listops.baselines import trivial_baselines
from attention_arena_tasks.listops.data import ListOpsOptions, generate, load, needs
from attention_arena_tasks.listops.expressions import VOCABULARY, check_brackets, evaluate, parse
from attention_arena_tasks.listops.generate import TREES_AT_ONCE, TreeShape, distinct, draw

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "listops"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="the real ListOps files are not here")

ARENA = TreeShape(max_depth=10, max_args=10, min_length=500, max_length=2000)
SMALL = {"min_length": 10, "max_length": 40, "n_train": 300, "n_validation": 50, "n_test": 70}


def examples(split: ExampleSplit) -> Iterator[tuple[np.ndarray, int]]:
    for start, stop, target in zip(split.offsets[:-1], split.offsets[1:], split.targets, strict=True):
        yield split.tokens[start:stop], int(target)


def words(tokens: np.ndarray) -> list[str]:
    return [VOCABULARY[token] for token in tokens]


def plain_tree(shape: TreeShape, random_state: random.Random, depth: int = 1) -> list[str]:
    """Return a tree's symbols, drawn as the specification says it, one node at a time."""
    if depth == shape.max_depth or random_state.random() > 0.25:
        return [str(random_state.randint(0, 9))]
    n_args = random_state.randint(2, shape.max_args)
    args = [plain_tree(shape, random_state, depth + 1) for _ in range(n_args)]
    return [random_state.choice(["[MIN", "[MAX", "[MED", "[SM"]), *(symbol for arg in args for symbol in arg), "]"]


@pytest.fixture(scope="module")
def arena() -> dict[str, ExampleSplit]:
    """5,000 expressions of the Long Range Arena's kind to score on, and as many to fit on."""
    return generate(ListOpsOptions(n_train=5000, n_validation=1, n_test=5000))


class TestExpressions:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("7", 7),
            ("[MIN 4 2 9 ]", 2),
            ("[MAX 4 2 9 ]", 9),
            ("[MED 4 2 9 ]", 4),
            ("[MED 4 2 9 7 ]", 5),
            ("[MED 3 4 ]", 3),
            ("[SM 4 2 9 ]", 5),
            ("[MAX 1 [MIN 8 6 [SM 9 9 ] ] 3 ]", 6),
            ("( ( ( [MAX 1 ) ( ( ( [SM 2 ) 3 ) ] ) ) ] )", 5),
        ],
    )
    def test_an_expression_has_its_value(self, text: str, value: int) -> None:
        assert evaluate(parse(text)) == value

    def test_the_vocabulary_never_changes(self) -> None:
        assert parse("[MIN 0 9 [MAX 1 [MED 2 [SM 3 ] ] ] ]").tolist() == [
            11, 1, 10, 12, 2, 13, 3, 14, 4, 15, 15, 15, 15,
        ]  # fmt: skip
        assert len(VOCABULARY) == 16

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("[MIN 1 2", "brackets do not match"),
            ("[MIN 1 2 ] ]", "brackets do not match"),
            ("[MIN 1 2 ] 3", "brackets do not match"),
            ("1 2", "brackets do not match"),
            ("]", "brackets do not match"),
            ("[MIN ]", "no argument"),
            ("", "empty"),
            ("[FIRST 1 2 ]", "'\\[FIRST' is not one of"),
            ("[MIN 12 3 ]", "'12' is not one of"),
            ("[MIN m 3 ]", "'m' is not one of"),
            ("[MIN3 4 ]", "'\\[MIN3' is not one of"),
        ],
    )
    def test_what_is_no_expression_is_named(self, text: str, complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            parse(text)

    @needs_real_data
    @pytest.mark.parametrize("name", ["test_d20s", "test_d20a"])
    def test_labels_of_the_original_files_are_ours(self, name: str) -> None:
        with lzma.open(REAL / f"{name}.tsv.xz", "rt") as lines:
            rows = [line.rstrip("\n").split("\t") for line in islice(lines, 4000)]
        assert [evaluate(parse(text)) for _, text in rows] == [int(label) for label, _ in rows]


class TestGenerator:
    def test_values_are_those_of_the_plain_evaluator(self) -> None:
        for expressions in islice(distinct(3, TreeShape(6, 10, 1, 200)), 2):
            for tokens in np.split(expressions.tokens, np.cumsum(expressions.lengths)[:-1])[:400]:
                check_brackets(tokens)
            texts = np.split(expressions.tokens, np.cumsum(expressions.lengths)[:-1])
            assert [evaluate(tokens) for tokens in texts] == expressions.values.tolist()

    def test_lengths_are_strictly_within_bounds(self) -> None:
        expressions = next(distinct(0, TreeShape(10, 10, 20, 24)))
        assert set(expressions.lengths.tolist()) == {21, 22, 23}

    def test_depth_and_arguments_keep_to_their_bounds(self) -> None:
        expressions = next(distinct(0, TreeShape(3, 4, 1, 100)))
        depth, open_counts, seen = 0, [0], set()
        for symbol in words(expressions.tokens):
            if symbol == "]":
                seen.add(open_counts.pop())
                continue
            open_counts[-1] += 1
            if symbol.startswith("["):
                open_counts.append(0)
            depth = max(depth, len(open_counts))
        assert depth == 3, "an operator's operator's digits are the third level"
        assert seen == {2, 3, 4}

    def test_trees_are_distributed_as_the_plain_generator_draws_them(self) -> None:
        shape = TreeShape(max_depth=4, max_args=5, min_length=8, max_length=40)
        random_state = random.Random(0)
        plain = [tree for tree in (plain_tree(shape, random_state) for _ in range(60_000)) if 8 < len(tree) < 40]
        chunks = [draw(0, chunk, shape) for chunk in range(20)]
        lengths = np.concatenate([chunk.lengths for chunk in chunks])
        values = np.concatenate([chunk.values for chunk in chunks])
        ours = np.bincount(np.concatenate([chunk.tokens for chunk in chunks]), minlength=16)
        theirs = np.bincount([VOCABULARY.index(symbol) for tree in plain for symbol in tree], minlength=16)
        plain_values = [evaluate([VOCABULARY.index(symbol) for symbol in tree]) for tree in plain]
        assert stats.ks_2samp(lengths, [len(tree) for tree in plain]).pvalue > 0.01
        assert stats.chi2_contingency([np.bincount(values), np.bincount(plain_values)]).pvalue > 0.01
        # Symbols of one tree hang together, so their shares are compared with room: 2 % of each.
        np.testing.assert_allclose(ours[1:] / ours.sum(), theirs[1:] / theirs.sum(), rtol=0.05)

    def test_as_many_trees_are_kept_as_in_the_long_range_arena(self) -> None:
        kept = np.array([len(draw(0, chunk, ARENA).values) for chunk in range(15)])
        # 8.3 % of all trees, and three of four are a lone digit; the standard error is 0.4 points.
        assert kept.sum() / (len(kept) * TREES_AT_ONCE) == pytest.approx(4 * 0.083, abs=0.012)

    def test_lengths_are_those_of_the_long_range_arena(self, arena: dict[str, ExampleSplit]) -> None:
        lengths = np.diff(arena["test"].offsets)
        assert lengths.mean() == pytest.approx(1039, abs=17)
        assert np.median(lengths) == pytest.approx(961, abs=25)
        assert np.percentile(lengths, 90) == pytest.approx(1649, abs=35)

    def test_classes_are_those_of_the_long_range_arena(self, arena: dict[str, ExampleSplit]) -> None:
        shares = 100 * np.bincount(arena["test"].targets) / 5000
        assert shares[0] == pytest.approx(17.0, abs=1.6)
        assert shares[9] == pytest.approx(16.7, abs=1.6)
        assert shares[1:9].min() > 6.0
        assert shares[1:9].max() < 11.0

    def test_trivial_readers_score_as_in_the_long_range_arena(self, arena: dict[str, ExampleSplit]) -> None:
        scores = trivial_baselines(arena["train"], arena["test"])
        assert scores["majority class"] == pytest.approx(17.0, abs=1.6)
        assert scores["first operator"] == pytest.approx(36.3, abs=2.1)
        assert scores["first operator and its own digits"] == pytest.approx(48.6, abs=2.2)

    @needs_real_data
    def test_the_reference_generators_file_looks_the_same(self, arena: dict[str, ExampleSplit], tmp_path: Path) -> None:
        file = tmp_path / "basic_val.tsv"
        file.write_bytes(lzma.decompress((REAL / "lra_format" / "basic_val.tsv.xz").read_bytes()))
        with file.open("rb") as opened:
            reference = release.read_split(Stream(file.name, file.stat().st_size, opened), file.name)
        assert reference.n_examples == 2000
        lengths = [np.diff(split.offsets) for split in (reference, arena["test"])]
        assert stats.ks_2samp(*lengths).pvalue > 0.01
        counts = [np.bincount(split.targets) for split in (reference, arena["test"])]
        assert stats.chi2_contingency(counts).pvalue > 0.01
        symbols = [np.bincount(split.tokens) / len(split.tokens) for split in (reference, arena["test"])]
        np.testing.assert_allclose(symbols[0][1:], symbols[1][1:], rtol=0.03)

    def test_expressions_are_distinct_over_all_splits(self) -> None:
        splits = generate(ListOpsOptions(**SMALL))
        texts = [tokens.tobytes() for split in splits.values() for tokens, _ in examples(split)]
        assert len(texts) == len(set(texts)) == 420

    def test_duplicates_are_left_out_and_the_search_ends(self) -> None:
        shape = TreeShape(max_depth=2, max_args=2, min_length=1, max_length=6)
        texts = [tokens.tobytes() for chunk in distinct(0, shape)
                 for tokens in np.split(chunk.tokens, np.cumsum(chunk.lengths)[:-1])]  # fmt: skip
        assert len(texts) == len(set(texts)) == 4 * 10 * 10

    def test_too_few_distinct_expressions_are_an_error(self) -> None:
        options = ListOpsOptions(min_length=1, max_length=6, max_depth=2, max_args=2, n_train=500, n_test=1)
        with pytest.raises(TaskError, match="only 400 distinct expressions of 2 to 5 symbols"):
            generate(options)

    def test_less_to_train_on_leaves_the_test_as_it_is(self) -> None:
        few, many = (generate(ListOpsOptions(**{**SMALL, "n_train": n})) for n in (20, 300))
        assert few["test"].content_hash == many["test"].content_hash
        assert few["validation"].content_hash == many["validation"].content_hash
        np.testing.assert_array_equal(few["train"].targets, many["train"].targets[:20])

    def test_seeds_differ(self) -> None:
        first, second = (generate(ListOpsOptions(**SMALL, seed=seed)) for seed in (0, 1))
        assert first["test"].content_hash != second["test"].content_hash


class TestTask:
    def test_the_data_are_the_same_on_every_machine(self, tmp_path: Path) -> None:
        data = load(ListOpsOptions(**SMALL), tmp_path)
        assert data.data_hash == "932681f4527485ab4ef535b9476f20598663e6333d3ac441d525143004e93db5"

    def test_the_data_are_the_same_in_another_process(self, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib\n"
            "from attention_arena_tasks.listops.data import ListOpsOptions, load\n"
            f"print(load(ListOpsOptions(**{SMALL}), pathlib.Path(sys.argv[1])).data_hash)"
        )
        here = load(ListOpsOptions(**SMALL), tmp_path / "here").data_hash
        there = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "there")],
            env={**os.environ, "PYTHONHASHSEED": "77"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here

    def test_prepared_data_are_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = load(ListOpsOptions(**SMALL), tmp_path)
        monkeypatch.setattr("attention_arena_tasks.listops.data.generate", lambda options: pytest.fail("made twice"))
        second = load(ListOpsOptions(**SMALL, fixed_length=True), tmp_path)
        assert first.data_hash == second.data_hash
        assert first.trivial_baselines == second.trivial_baselines
        assert next(second.train.batches(4)).tokens.shape == (4, 40)

    def test_what_comes_out_is_what_was_asked_for(self, tmp_path: Path) -> None:
        options = ListOpsOptions(**SMALL)
        data = load(options, tmp_path)
        assert (data.train.n_examples, data.validation.n_examples, data.test.n_examples) == (300, 50, 70)
        assert data.source.kind == "generated"
        assert data.vocab_size == 16
        assert data.max_length == needs(options).max_length == 40
        assert data.objective.requires == needs(options).capabilities
        assert set(data.trivial_baselines) == {"majority class", "first operator", "first operator and its own digits"}

    def test_the_task_registers_itself(self) -> None:
        (task,) = listops.register_tasks()
        assert task.name == "listops"
        task.options(**task.small_options)

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"min_length": 50, "max_length": 51}, "must exceed min_length"),
            ({"max_depth": 2}, "longer than 12, but min_length is 500"),
            ({"n_tran": 5}, "n_tran"),
            ({"path": "lra"}, "path is read with `source: official` only"),
            ({"source": "stand-in"}, "'generated' or 'official'"),
        ],
    )
    def test_options_that_cannot_be_are_refused(self, options: dict[str, object], complaint: str) -> None:
        with pytest.raises(ValidationError, match=complaint):
            ListOpsOptions.model_validate(options)
