import math

import pytest
import torch
from torch import nn

from attention_arena.objectives import Adaptive, MaskedLanguageModeling
from attention_arena.task import Batch
from attention_arena.variant import Capability, ModelShape

D, V = 8, 11
SHAPE = ModelShape(d_model=D, n_heads=2, d_ff=16, max_length=6)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make_batch() -> tuple[torch.Tensor, Batch]:
    tokens, targets = torch.randint(V, (2, 3, 6))
    return torch.randn(3, 6, D, requires_grad=True), Batch(tokens, targets, scored=torch.rand(3, 6) < 0.4)


def test_it_asks_for_both_directions_and_nothing_else() -> None:
    objective = MaskedLanguageModeling(V)
    assert objective.requires == {Capability.BIDIRECTIONAL}
    assert not objective.causal
    assert not objective.pools


def test_only_hidden_tokens_count() -> None:
    hidden, batch = make_batch()
    assert batch.scored is not None
    objective = MaskedLanguageModeling(V)
    head = objective.build_head(SHAPE, nn.Embedding(V, D))
    score = objective.score(head, hidden, batch)
    expected = nn.functional.cross_entropy(head(hidden[batch.scored]), batch.targets[batch.scored])
    torch.testing.assert_close(score.loss, expected)
    assert score.sums["tokens"] == objective.weight(batch) == batch.scored.sum()
    torch.testing.assert_close(score.examples["nats"].sum(), score.sums["nats"])
    assert torch.equal(score.examples["tokens"], batch.scored.sum(1).double())


def test_positions_that_do_not_count_get_no_gradient() -> None:
    hidden, batch = make_batch()
    assert batch.scored is not None
    objective = MaskedLanguageModeling(V)
    head = objective.build_head(SHAPE, nn.Embedding(V, D))
    (gradient,) = torch.autograd.grad(objective.score(head, hidden, batch).loss, hidden)
    assert (gradient[~batch.scored] == 0).all()
    assert (gradient[batch.scored].abs().sum(-1) > 0).all()


def test_each_hidden_token_is_scored_in_its_own_row() -> None:
    hidden, batch = make_batch()
    objective = MaskedLanguageModeling(V)
    head = objective.build_head(SHAPE, nn.Embedding(V, D))
    whole = objective.score(head, hidden, batch).examples["nats"]
    rows = [objective.score(head, hidden[row : row + 1], batch.rows(row, row + 1)).sums["nats"] for row in range(3)]
    torch.testing.assert_close(whole, torch.stack(rows))


@pytest.mark.parametrize(
    ("unit", "first"),
    [("byte", "bits_per_masked_byte"), ("character", "bits_per_masked_character"), ("word", "masked_perplexity")],
)
def test_the_metric_of_the_unit_is_compared_and_says_that_tokens_were_hidden(unit: str, first: str) -> None:
    objective = MaskedLanguageModeling(V, unit)
    values = objective.summarise({"nats": 30 * math.log(8), "tokens": 30.0})
    assert [metric.name for metric in objective.metrics] == list(values)
    assert objective.metrics[0].name == first
    assert values == pytest.approx({f"bits_per_masked_{unit}": 3.0, "masked_perplexity": 8.0, "loss": math.log(8)})
    assert all("masked" in metric.name for metric in objective.metrics[:2])


def test_an_adaptive_softmax_scores_hidden_words() -> None:
    hidden, batch = make_batch()
    assert batch.scored is not None
    objective = MaskedLanguageModeling(V, "word", tied=True, adaptive=Adaptive((4, 8)))
    head = objective.build_head(SHAPE, objective.build_embedding(SHAPE, V))
    expected = nn.functional.nll_loss(head(hidden[batch.scored]), batch.targets[batch.scored])
    torch.testing.assert_close(objective.score(head, hidden, batch).loss, expected)


def test_an_empty_split_has_no_score() -> None:
    with pytest.raises(ValueError, match="empty"):
        MaskedLanguageModeling(V).summarise({"nats": 0.0, "tokens": 0.0})
