import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from attention_arena.model import SequenceModel, build_model
from attention_arena.objectives import Classification, Matching
from attention_arena.objectives.matching import MatchingHead
from attention_arena.pairs import PairSplit
from attention_arena.runs.execution import Execution
from attention_arena.runs.synthetic import synthetic_batch
from attention_arena.study.schema import TrainingSettings
from attention_arena.task import Batch, Source, TaskData
from attention_arena.training import train
from attention_arena.variant import Capability, ModelSettings, ModelShape
from attention_arena_variants.softmax import SOFTMAX

CPU = torch.device("cpu")
D, F, C = 8, 6, 3
SETTINGS = ModelSettings(d_model=16, n_heads=2, n_layers=1, d_ff=32, dropout=0.0)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def make_head(**changes: object) -> MatchingHead:
    shape = ModelShape(**{"d_model": D, "n_heads": 2, "d_ff": F, "max_length": 9, **changes})  # type: ignore[arg-type]
    head = Matching(C).build_head(shape, nn.Embedding(5, D))
    assert isinstance(head, MatchingHead)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return head


def make_batch(B: int = 4, T: int = 5) -> tuple[torch.Tensor, Batch]:
    valid = torch.arange(T) < torch.tensor([[T, 2], [1, T], [3, 3], [4, 1]])[:B, :, None]
    return torch.randn(B, 2, T, D), Batch(torch.randint(1, 5, (B, 2, T)), torch.arange(B) % C, valid)


def plain_logits(head: MatchingHead, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the appendix's two-layer head of one pair of pooled vectors (D,), written out."""
    layer = {name: parameter.detach().double().numpy() for name, parameter in head.named_parameters()}
    joined = np.concatenate([x, y, x * y, x - y])
    wide = np.maximum(0, layer["widen.weight"] @ joined + layer["widen.bias"])
    narrow = np.maximum(0, layer["narrow.weight"] @ wide + layer["narrow.bias"])
    return layer["classify.weight"] @ narrow + layer["classify.bias"]


class TestHead:
    def test_it_is_the_papers_formula_of_two_means(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        assert batch.valid is not None
        for row, logits in enumerate(head(hidden, batch.valid)):
            x, y = (hidden[row, side][batch.valid[row, side]].mean(0).double().numpy() for side in range(2))
            np.testing.assert_allclose(logits.detach(), plain_logits(head, x, y), rtol=1e-4, atol=1e-5)

    def test_with_cls_pooling_it_reads_the_first_position_of_each_alone(self) -> None:
        head, (hidden, batch) = make_head(pooling="cls"), make_batch()
        logits = head(hidden, batch.valid)
        x, y = hidden[0, :, 0].double().numpy()
        np.testing.assert_allclose(logits[0].detach(), plain_logits(head, x, y), rtol=1e-4, atol=1e-5)
        other = torch.cat([hidden[:, :, :1], torch.randn_like(hidden[:, :, 1:])], dim=2)
        assert torch.equal(head(other, batch.valid), logits)

    def test_the_second_hidden_layer_is_half_as_wide(self) -> None:
        assert [tuple(layer.weight.shape) for layer in make_head().children()] == [(F, 4 * D), (F // 2, F), (C, F // 2)]
        assert make_head(d_ff=1).narrow.weight.shape == (1, 1)

    def test_what_padding_holds_changes_nothing(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        assert batch.valid is not None
        other = torch.where(batch.valid[..., None], hidden, torch.full_like(hidden, math.nan))
        assert torch.equal(head(other, batch.valid), head(hidden, batch.valid))

    def test_an_empty_sequence_has_finite_logits(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        assert head(hidden, torch.zeros_like(batch.tokens, dtype=torch.bool)).isfinite().all()

    def test_the_order_of_the_two_matters(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        assert batch.valid is not None
        assert not torch.allclose(head(hidden.flip(1), batch.valid.flip(1)), head(hidden, batch.valid))

    def test_without_a_mask_everything_counts(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        torch.testing.assert_close(head(hidden, None), head(hidden, torch.ones_like(batch.tokens, dtype=torch.bool)))


class TestObjective:
    def test_the_loss_is_the_mean_cross_entropy(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        score = Matching(C).score(head, hidden, batch)
        expected = nn.functional.cross_entropy(head(hidden, batch.valid), batch.targets)
        torch.testing.assert_close(score.loss, expected)
        assert float(score.sums["count"]) == Matching(C).weight(batch) == 4

    def test_sums_add_up_over_micro_batches(self) -> None:
        head, (hidden, batch) = make_head(), make_batch()
        whole = Matching(C).score(head, hidden, batch).sums
        parts = [Matching(C).score(head, hidden[a:b], batch.rows(a, b)).sums for a, b in ((0, 1), (1, 4))]
        for name, value in whole.items():
            torch.testing.assert_close(value, parts[0][name] + parts[1][name], rtol=1e-6, atol=0)

    def test_it_asks_of_a_variant_what_classification_does(self) -> None:
        assert Matching().requires == Classification(2).requires == {Capability.BIDIRECTIONAL, Capability.PADDING}
        assert not Matching.causal
        assert Matching.pools
        assert Matching(padded=False).requires == {Capability.BIDIRECTIONAL}


def equal_first_tokens(n: int, seed: int) -> PairSplit:
    """Pairs of sequences of 2 to 5 tokens; class 1 if they begin alike, which is so for half of them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 6, 2 * n)
    offsets = np.concatenate([[0], lengths.cumsum()])
    tokens = rng.integers(1, 5, offsets[-1]).astype(np.uint8)
    targets = np.arange(n) % 2
    first = rng.integers(0, 4, n)
    second = np.where(targets, first, (first + rng.integers(1, 4, n)) % 4)
    tokens[offsets[:-1]] = 5 + np.stack([first, second], axis=1).ravel()
    return PairSplit(tokens, offsets, np.arange(2 * n).reshape(n, 2), targets.astype(np.uint8))


@pytest.fixture(scope="module")
def data() -> TaskData:
    splits = [equal_first_tokens(n, seed) for seed, n in enumerate((512, 128, 128))]
    return TaskData(9, 5, Matching(2), *splits, Source("generated", "equal first tokens"))


def model_for(data: TaskData, **changes: object) -> SequenceModel:
    torch.manual_seed(0)
    return build_model(SOFTMAX, SOFTMAX.options(), SETTINGS.model_copy(update=changes), data).eval()


class TestModel:
    @pytest.mark.parametrize("pooling", ["mean", "cls"])
    def test_each_sequence_is_encoded_as_if_alone(self, data: TaskData, pooling: str) -> None:
        model, batch = model_for(data, pooling=pooling), next(data.train.batches(6))
        hidden = model(batch).hidden
        assert hidden.shape == (6, 2, batch.tokens.shape[-1] + (pooling == "cls"), 16)
        for side in range(2):
            valid = None if batch.valid is None else batch.valid[:, side]
            alone = model(Batch(batch.tokens[:, side], batch.targets, valid)).hidden
            torch.testing.assert_close(hidden[:, side], alone)

    @pytest.mark.parametrize("pooling", ["mean", "cls"])
    def test_training_learns_whether_two_sequences_begin_alike(self, data: TaskData, pooling: str) -> None:
        recipe = TrainingSettings(
            steps=300, batch_size=32, micro_batch_size=16, learning_rate=1e-2, warmup_steps=5, evaluate_every=100
        )
        outcome = train(model_for(data, pooling=pooling), data, recipe, 0, CPU)
        assert outcome.test_best is not None
        assert outcome.test_best.metrics["accuracy"] > 90
        assert len(outcome.test_best.examples["correct"]) == data.test.n_examples

    def test_measures_get_batches_of_pairs(self, data: TaskData) -> None:
        batch = synthetic_batch(data, 3, 7, seed=0, device=CPU)
        assert batch.tokens.shape == (3, 2, 7)
        model = model_for(data)
        assert (
            model.objective.score(model.head, model(batch._replace(tokens=batch.tokens[..., :5])).hidden, batch).loss
            > 0
        )

    def test_the_tokens_of_both_sequences_count_for_speed(self, data: TaskData) -> None:
        run = SimpleNamespace(
            training=SimpleNamespace(batch_size=10),
            data=data,
            _synthetic=lambda rows, length: synthetic_batch(data, rows, length, 0, CPU),
        )
        speed = Execution._speed(run, SimpleNamespace(step_seconds=0.5))  # type: ignore[arg-type]
        assert speed == {"step_ms": 500.0, "tokens_per_second": 10 * 2 * 5 / 0.5}
