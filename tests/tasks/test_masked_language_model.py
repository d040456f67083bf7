import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attention_arena.catalogue import load_catalogue
from attention_arena.evaluation import evaluate
from attention_arena.model import SequenceModel, build_model, model_shape
from attention_arena.objectives import Adaptive, MaskedLanguageModeling
from attention_arena.study.fit import why_unsupported
from attention_arena.task import Batch
from attention_arena.training.precision import autocast_for
from attention_arena.variant import ModelSettings
from attention_arena_tasks.language_model import LANGUAGE_MODEL, MASKED_LANGUAGE_MODEL
from attention_arena_tasks.language_model.masked import MaskedLanguageModelOptions, load, needs
from attention_arena_tasks.language_model.masked_baselines import masked_baselines
from attention_arena_tasks.language_model.masking import MASK, MaskedSplit, draws, n_predicted, of_stream

SMALL = {"length": 16, "train_bytes": 5000, "validation_bytes": 500, "test_bytes": 600}


def stream(n: int, n_tokens: int = 50, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, n_tokens, n).astype(np.uint8)


def hidden_tokens(split: MaskedSplit, batch_size: int, order_seed: int | None = None) -> Counter[tuple[int, ...]]:
    """What stands in every hidden token's segment, and where and what it is."""
    found: Counter[tuple[int, ...]] = Counter()
    for batch in split.batches(batch_size, order_seed):
        assert batch.scored is not None
        for tokens, targets, scored in zip(batch.tokens, batch.targets, batch.scored, strict=True):
            for place in scored.nonzero().flatten().tolist():
                found[(*tokens.tolist(), place, int(targets[place]))] += 1
    return found


def parts(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    assert batch.scored is not None
    return batch.tokens, batch.targets, batch.scored


class TestRule:
    def test_targets_are_the_text_and_other_tokens_stay(self) -> None:
        text = stream(64)
        tokens, targets, scored = parts(next(of_stream(text, 50, 16).batches(4)))
        assert torch.equal(targets.flatten(), torch.from_numpy(text.astype(np.int64)) + 1)
        assert torch.equal(tokens[~scored], targets[~scored])
        assert MASK not in tokens[~scored]

    @pytest.mark.parametrize(("length", "n"), [(1, 1), (2, 1), (7, 1), (10, 2), (16, 2), (100, 15), (512, 77)])
    def test_fifteen_per_cent_of_a_segment_are_predicted_and_at_least_one(self, length: int, n: int) -> None:
        assert n_predicted(np.array([length])).tolist() == [n]
        *_, scored = parts(next(of_stream(stream(4 * length + 1), 50, length).batches(4)))
        assert scored.sum(1).tolist() == [n] * 4

    def test_of_those_80_are_masked_10_random_and_10_the_same(self) -> None:
        split = of_stream(stream(200_000, 256), 256, 100)
        kinds = Counter[str]()
        random = Counter[int]()
        for batch in split.batches(500):
            tokens, targets, scored = parts(batch)
            seen, true = tokens[scored], targets[scored]
            kinds["masked"] += int((seen == MASK).sum())
            kinds["kept"] += int((seen == true).sum())
            random.update(seen[(seen != MASK) & (seen != true)].tolist())
        n = split.n_examples
        assert n == 30_000
        # Three standard errors of 30,000 draws; a random token is the right one in 1 of 256 cases.
        assert kinds["masked"] / n == pytest.approx(0.8, abs=0.007)
        assert kinds["kept"] / n == pytest.approx(0.1 + 0.1 / 256, abs=0.0055)
        assert set(random) == set(range(1, 257)), "every token but the mask occurs in others' places"
        assert max(random.values()) < 40, "about 12 each"

    def test_every_place_is_as_likely(self) -> None:
        split = of_stream(stream(160_000), 50, 16)
        counts = sum(parts(batch)[2].sum(0) for batch in split.batches(1000))
        assert isinstance(counts, torch.Tensor)
        assert counts.sum() == 20_000
        # 1,250 expected, standard deviation 33.
        assert (counts - 1250).abs().max() < 130


class TestPasses:
    @pytest.mark.parametrize("n", [5, 16, 47, 48, 49, 63, 1000])
    def test_nothing_hangs_on_the_batch_size(self, n: int) -> None:
        split = of_stream(stream(n), 50, 16)
        found = [hidden_tokens(split, batch_size) for batch_size in (1, 3, 7, 100)]
        assert found[0] == found[1] == found[2] == found[3]
        assert found[0].total() == split.n_examples

    def test_every_evaluation_hides_the_same_tokens(self) -> None:
        first, again = (hidden_tokens(of_stream(stream(500), 50, 16), 4) for _ in range(2))
        assert first == again

    def test_what_is_left_over_is_predicted_in_a_last_segment_that_repeats_nothing(self) -> None:
        text = np.arange(45, dtype=np.uint8)
        batches = list(of_stream(text, 45, 10).batches(2))
        tokens, targets, scored = (torch.cat(each) for each in zip(*map(parts, batches), strict=True))
        assert targets.tolist()[-1] == list(range(36, 46))
        assert scored[-1].sum() == 1
        assert targets[-1][scored[-1]].item() > 41, "of the five tokens that no segment before had"
        assert tokens.shape == (5, 10)

    def test_training_passes_differ_in_segments_and_in_what_is_hidden(self) -> None:
        split = of_stream(stream(1000), 50, 16)
        first, again, other = (hidden_tokens(split, 4, seed) for seed in (0, 0, 1))
        assert first == again
        assert (first & other).total() < 0.1 * first.total()

    def test_in_training_every_batch_is_full_and_segments_are_of_the_text(self) -> None:
        text = np.arange(250, dtype=np.uint8)
        for seed in range(5):
            batches = list(of_stream(text, 250, 16).batches(4, seed))
            starts = [row[0] for batch in batches for row in parts(batch)[1].tolist()]
            assert all(batch.tokens.shape == (4, 16) for batch in batches)
            assert len(set(starts)) == len(starts) == 12
            assert {start % 16 for start in starts} == {starts[0] % 16}, "multiples of the length from one place"
            for batch in batches:
                assert (parts(batch)[1].diff(dim=1) == 1).all()

    def test_a_short_stream_is_one_segment(self) -> None:
        split = of_stream(stream(9), 50, 16)
        assert next(split.batches(4)).tokens.shape == (1, 9)
        assert next(split.batches(4, 0)).tokens.shape == (1, 9)

    def test_draws_belong_to_a_place_of_the_text(self) -> None:
        whole = draws(7, np.array([0]), 50)[0]
        some = draws(7, np.array([13, 0, 30]), 20)
        assert np.array_equal(some, np.stack([whole[13:33], whole[:20], whole[30:50]]))

    def test_draws_are_the_same_on_every_machine(self) -> None:
        assert draws(1810, np.array([1000]), 1).tolist() == [[[15_367_845_390_808_347_859, 13_311_693_523_272_433_790]]]

    def test_another_length_is_other_data(self) -> None:
        text = stream(500)
        assert of_stream(text, 50, 16).content_hash != of_stream(text, 50, 17).content_hash


class TestBaselines:
    def test_the_reader_of_frequencies_knows_the_rule(self) -> None:
        train, n_tokens = (stream(4000, 8) ** 2 % 9).astype(np.uint8), 9
        split = of_stream((stream(900, 8, 1) ** 2 % 9).astype(np.uint8), n_tokens, 20)
        shares = [((train[1:] == token).sum() + 1) / (len(train) - 1 + n_tokens) for token in range(n_tokens)]
        nats = 0.0
        for tokens, targets, scored in map(parts, split.batches(5)):
            for seen, true in zip(tokens[scored].tolist(), (targets[scored] - 1).tolist(), strict=True):
                if seen == MASK:
                    nats -= math.log(shares[true])
                    continue
                joint = [shares[t] * (0.1 * (t == seen - 1) + 0.1 / n_tokens) for t in range(n_tokens)]
                nats -= math.log(joint[true] / sum(joint))
        found = masked_baselines(train, split, "byte")["byte frequencies"]
        assert found == pytest.approx(nats / split.n_examples / math.log(2))

    def test_neighbours_tell_what_stands_between_them(self) -> None:
        text = np.tile(np.arange(7, dtype=np.uint8), 2000)
        scores = masked_baselines(text, of_stream(text[:3000], 7, 100), "character")
        assert list(scores) == ["character frequencies", "character between its neighbours"]
        # Without a mask beside it, which is in about 4 of 5 cases, a token is certain.
        assert scores["character between its neighbours"] < 0.5 * scores["character frequencies"]

    def test_a_neighbour_that_is_masked_or_missing_tells_nothing(self) -> None:
        train = np.tile(np.array([0, 1], dtype=np.uint8), 500)
        alone = of_stream(np.array([0, 1] * 50, np.uint8), 2, 1)
        scores = masked_baselines(train, alone, "byte")
        assert scores["byte between its neighbours"] == pytest.approx(scores["byte frequencies"])

    def test_words_are_scored_by_perplexity(self) -> None:
        train = np.random.default_rng(0).integers(0, 400, 5000).astype(np.uint16)
        scores = masked_baselines(train, of_stream(train[:1000], 400, 20), "word")
        assert list(scores) == ["word frequencies"]
        assert 100 < scores["word frequencies"] < 400


class TestTask:
    def test_it_is_for_variants_that_see_both_sides_alone(self) -> None:
        catalogue, options = load_catalogue(), MaskedLanguageModelOptions()
        linformer = catalogue.variant("linformer")
        assert why_unsupported(linformer, MASKED_LANGUAGE_MODEL, needs(options)) is None
        causal = LANGUAGE_MODEL.needs(LANGUAGE_MODEL.options())
        assert why_unsupported(linformer, LANGUAGE_MODEL, causal) is not None

    def test_the_vocabulary_has_one_id_more(self, tmp_path: Path) -> None:
        data = load(MaskedLanguageModelOptions(**SMALL), tmp_path)
        assert data.vocab_size == 257
        assert data.source.kind == "stand-in"
        assert list(data.trivial_baselines) == ["byte frequencies", "byte between its neighbours"]

    def test_it_reads_the_language_models_streams(self, tmp_path: Path) -> None:
        masked = load(MaskedLanguageModelOptions(**SMALL), tmp_path)
        causal = LANGUAGE_MODEL.load(LANGUAGE_MODEL.options(**SMALL), tmp_path)
        assert np.array_equal(masked.test.tokens, causal.test.tokens)  # type: ignore[attr-defined]
        assert masked.data_hash != causal.data_hash
        assert len(list((tmp_path / "language_model").glob("standard-library*"))) == 1

    def test_words_may_be_cut_into_bands(self, tmp_path: Path) -> None:
        (tmp_path / "text").write_text("".join(f"word{n % 300} and\n" for n in range(2000)))
        options = MaskedLanguageModelOptions(corpus=str(tmp_path / "text"), unit="word", cutoffs=(50, 200), length=16)
        objective = load(options, tmp_path).objective
        assert isinstance(objective, MaskedLanguageModeling)
        assert objective.adaptive == Adaptive((50, 200))
        assert objective.tied
        assert objective.metrics[0].name == "masked_perplexity"

    def test_a_score_does_not_hang_on_the_batch_size(self, tmp_path: Path) -> None:
        data = load(MaskedLanguageModelOptions(**SMALL), tmp_path)
        torch.manual_seed(0)
        variant = load_catalogue().variant("linformer")
        model = build_model(variant, variant.options(rank=8), ModelSettings(d_model=16, d_ff=16), data)
        cpu = torch.device("cpu")
        found = [evaluate(model, data.test, size, cpu, autocast_for("fp32", cpu)) for size in (1, 5, 64)]
        assert found[0].sums["tokens"] == data.test.n_examples
        for other in found[1:]:
            assert other.sums == pytest.approx(found[0].sums, rel=1e-6)
            assert other.metrics == pytest.approx(found[0].metrics, rel=1e-6)

    def test_a_variant_without_a_causal_form_learns_it(self) -> None:
        torch.manual_seed(0)
        objective, variant = MaskedLanguageModeling(8), load_catalogue().variant("linformer")
        shape = model_shape(ModelSettings(d_model=32, d_ff=64), 28, objective)
        model = SequenceModel(variant.build(variant.options(rank=16), shape), shape, 8, objective)
        split = of_stream(np.tile(np.arange(7, dtype=np.uint8), 500), 7, 28)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses = []
        for epoch in range(30):
            for batch in split.batches(16, epoch):
                loss = objective.score(model.head, model(batch).hidden, batch).loss
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
        assert sum(losses[-20:]) / 20 < 0.4, "of log 7 = 1.95 nats: the text repeats itself every seven tokens"
