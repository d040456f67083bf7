import math
from typing import Any

import pytest
import torch
from torch import nn

from attention_arena.objectives import Classification, LanguageModeling
from attention_arena.objectives.vocabulary import VocabularyHead
from attention_arena.task import Batch, Objective
from attention_arena.variant import Capability, ModelShape

D, V = 8, 11


def make_shape(**settings: Any) -> ModelShape:
    return ModelShape(d_model=D, n_heads=2, d_ff=16, max_length=6, **settings)


def totals(objective: Objective, head: nn.Module, hidden: torch.Tensor, batches: list[Batch]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for rows, batch in zip(hidden.split([len(batch.targets) for batch in batches]), batches, strict=True):
        for name, value in objective.score(head, rows, batch).sums.items():
            assert value.dtype == torch.float64
            sums[name] = sums.get(name, 0.0) + value.item()
    return sums


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class TestClassification:
    objective = Classification(5)

    def make_batch(self) -> tuple[torch.Tensor, Batch]:
        lengths = torch.tensor([6, 3, 1, 4])
        valid = torch.arange(6) < lengths[:, None]
        return torch.randn(4, 6, D), Batch(torch.ones(4, 6, dtype=torch.long), torch.tensor([0, 1, 4, 2]), valid)

    def make_head(self, **settings: Any) -> nn.Module:
        return self.objective.build_head(make_shape(**settings), nn.Embedding(V, D))

    def test_the_mean_is_over_valid_positions(self) -> None:
        hidden, batch = self.make_batch()
        head = self.make_head()
        alone = torch.cat([head(hidden[i : i + 1, :n], None) for i, n in enumerate([6, 3, 1, 4])])
        torch.testing.assert_close(head(hidden, batch.valid), alone)

    def test_padding_changes_nothing(self) -> None:
        hidden, batch = self.make_batch()
        assert batch.valid is not None
        other = hidden.masked_fill(~batch.valid[..., None], 1e30)
        head = self.make_head()
        assert torch.equal(
            self.objective.score(head, hidden, batch).loss, self.objective.score(head, other, batch).loss
        )

    def test_a_row_without_tokens_is_finite(self) -> None:
        head = self.make_head()
        assert head(torch.randn(2, 6, D), torch.zeros(2, 6, dtype=torch.bool)).isfinite().all()

    def test_cls_pooling_reads_the_first_position_alone(self) -> None:
        hidden, batch = self.make_batch()
        head = self.make_head(pooling="cls")
        longer = torch.cat([torch.randn(4, 1, D), hidden], dim=1)  # (B, T + 1, D)
        other = torch.cat([longer[:, :1], torch.randn(4, 6, D)], dim=1)
        assert torch.equal(
            self.objective.score(head, longer, batch).loss, self.objective.score(head, other, batch).loss
        )
        assert not torch.equal(
            self.objective.score(head, longer, batch).loss, self.objective.score(head, longer + 1, batch).loss
        )

    def test_the_loss_is_the_mean_cross_entropy(self) -> None:
        hidden, batch = self.make_batch()
        head = self.make_head()
        expected = nn.functional.cross_entropy(head(hidden, batch.valid), batch.targets)
        score = self.objective.score(head, hidden, batch)
        torch.testing.assert_close(score.loss, expected)
        assert score.loss.requires_grad
        assert not score.examples["nats"].requires_grad

    def test_sums_add_up_over_any_batches(self) -> None:
        hidden, batch = self.make_batch()
        head = self.make_head()
        whole = totals(self.objective, head, hidden, [batch])
        parts = totals(self.objective, head, hidden, [batch.rows(0, 1), batch.rows(1, 4)])
        assert whole == pytest.approx(parts, rel=1e-6)
        assert whole["count"] == 4

    def test_accuracy_is_in_percent(self) -> None:
        assert self.objective.summarise({"correct": 3.0, "count": 4.0, "nats": 2.0}) == {"accuracy": 75.0, "loss": 0.5}

    def test_examples_say_what_was_predicted(self) -> None:
        hidden, batch = self.make_batch()
        head = self.make_head()
        examples = self.objective.score(head, hidden, batch).examples
        assert torch.equal(examples["predicted"], head(hidden, batch.valid).argmax(-1))
        assert torch.equal(examples["correct"], examples["predicted"] == batch.targets)

    def test_rows_that_do_not_count_are_left_out(self) -> None:
        hidden, batch = self.make_batch()
        head = self.make_head()
        partial = batch._replace(scored=torch.tensor([True, False, True, False]))
        kept = Batch(batch.tokens[::2], batch.targets[::2], batch.valid[::2] if batch.valid is not None else None)
        score, expected = self.objective.score(head, hidden, partial), self.objective.score(head, hidden[::2], kept)
        torch.testing.assert_close(score.loss, expected.loss)
        assert score.sums["count"] == self.objective.weight(partial) == 2
        assert self.objective.weight(batch) == 4

    def test_padding_is_required_of_a_variant_only_where_lengths_differ(self) -> None:
        assert Capability.PADDING in Classification(2).requires
        assert Classification(2, padded=False).requires == {Capability.BIDIRECTIONAL}

    def test_an_empty_split_has_no_score(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            self.objective.summarise({"correct": 0.0, "count": 0.0, "nats": 0.0})


class TestLanguageModeling:
    def make_batch(self) -> tuple[torch.Tensor, Batch]:
        scored = torch.rand(3, 6) < 0.7
        tokens, targets = torch.randint(V, (2, 3, 6))
        return torch.randn(3, 6, D, requires_grad=True), Batch(tokens, targets, scored=scored)

    @pytest.mark.parametrize("positions", [1, 5, 6, 17])
    def test_sections_change_neither_the_score_nor_the_gradients(self, positions: int) -> None:
        whole, sectioned = LanguageModeling(V), LanguageModeling(V, logits_at_once=positions * V)
        hidden, batch = self.make_batch()
        head = whole.build_head(make_shape(), nn.Embedding(V, D))
        results = []
        for objective in (whole, sectioned):
            score = objective.score(head, hidden, batch)
            gradients = torch.autograd.grad(score.loss, [hidden, *head.parameters()])
            results.append([score.loss, *gradients, *score.sums.values(), *score.examples.values()])
        for left, right in zip(*results, strict=True):
            torch.testing.assert_close(left, right)

    def test_no_more_than_a_section_of_logits_exists_at_once(self) -> None:
        seen: list[int] = []

        class Spy(VocabularyHead):
            def forward(self, hidden: torch.Tensor) -> torch.Tensor:
                seen.append(len(hidden))
                return super().forward(hidden)

        hidden, batch = self.make_batch()
        head = Spy(D, V, logits_at_once=5 * V)
        score = LanguageModeling(V).score(head, hidden, batch._replace(scored=None))
        assert seen == [5, 5, 5, 3]
        score.loss.backward()  # type: ignore[no-untyped-call]
        assert len(seen) == 8, "every section is recomputed in backward"

    def test_only_scored_positions_count(self) -> None:
        hidden, batch = self.make_batch()
        assert batch.scored is not None
        objective = LanguageModeling(V)
        head = objective.build_head(make_shape(), nn.Embedding(V, D))
        expected = nn.functional.cross_entropy(head(hidden[batch.scored]), batch.targets[batch.scored])
        score = objective.score(head, hidden, batch)
        torch.testing.assert_close(score.loss, expected)
        assert score.sums["tokens"] == objective.weight(batch) == batch.scored.sum()
        assert torch.equal(score.examples["tokens"], batch.scored.sum(1).double())
        assert objective.weight(batch._replace(scored=None)) == 18

    def test_sums_add_up_over_any_batches(self) -> None:
        hidden, batch = self.make_batch()
        objective = LanguageModeling(V)
        head = objective.build_head(make_shape(), nn.Embedding(V, D))
        whole = totals(objective, head, hidden, [batch])
        assert whole == pytest.approx(totals(objective, head, hidden, [batch.rows(0, 2), batch.rows(2, 3)]), rel=1e-6)

    def test_metrics_are_exact_functions_of_the_sums(self) -> None:
        values = LanguageModeling(256).summarise({"nats": 30.0 * math.log(8), "tokens": 30.0})
        assert values == pytest.approx({"bits_per_byte": 3.0, "perplexity": 8.0, "loss": math.log(8)})

    def test_a_diverged_loss_has_infinite_perplexity(self) -> None:
        assert LanguageModeling(256).summarise({"nats": 1e6, "tokens": 1.0})["perplexity"] == math.inf

    def test_every_metric_is_summarised_and_the_first_is_compared(self) -> None:
        for unit in ("byte", "character", "word"):
            for token_bytes in (None, [2] * V):
                objective = LanguageModeling(V, unit, token_bytes=token_bytes)
                values = objective.summarise({"nats": 1.0, "tokens": 1.0, "bytes": 2.0})
                assert [metric.name for metric in objective.metrics] == list(values)
                assert not any(metric.higher_is_better for metric in objective.metrics)
                assert objective.metrics[0].name == ("perplexity" if unit == "word" else f"bits_per_{unit}")

    def test_bits_per_byte_are_of_the_text_that_scored_tokens_stand_for(self) -> None:
        sizes = torch.arange(1, V + 1)
        objective = LanguageModeling(V, "word", token_bytes=sizes)
        hidden, batch = self.make_batch()
        assert batch.scored is not None
        head = objective.build_head(make_shape(), nn.Embedding(V, D))
        sums = {name: value.item() for name, value in objective.score(head, hidden, batch).sums.items()}
        n_bytes = sum(int(sizes[word]) for word in batch.targets[batch.scored].tolist())
        assert sums["bytes"] == n_bytes
        assert objective.summarise(sums)["bits_per_byte"] == pytest.approx(sums["nats"] / math.log(2) / n_bytes)

    def test_a_byte_stands_for_itself(self) -> None:
        names = [metric.name for metric in LanguageModeling(256, token_bytes=[1] * 256).metrics]
        assert names.count("bits_per_byte") == 1

    def test_a_table_of_bytes_must_fit_the_vocabulary(self) -> None:
        with pytest.raises(ValueError, match=r"must be \(11,\), got \(3,\)"):
            LanguageModeling(V, "word", token_bytes=[1, 2, 3])

    def test_accuracy_of_scored_tokens_is_compared_where_asked(self) -> None:
        objective = LanguageModeling(V, by_accuracy=True)
        assert objective.metrics[0].name == "accuracy"
        hidden = torch.randn(2, 6, D)
        scored = torch.tensor([[True, True, False, False, True, True]]).expand(2, 6)
        batch = Batch(torch.zeros(2, 6, dtype=torch.long), torch.randint(V, (2, 6)), scored=scored)
        head = objective.build_head(make_shape(), nn.Embedding(V, D))
        sums = {name: value.item() for name, value in objective.score(head, hidden, batch).sums.items()}
        right = (head(hidden).argmax(dim=-1) == batch.targets)[scored]
        metrics = objective.summarise(sums)
        assert metrics["accuracy"] == pytest.approx(100 * right.double().mean().item())
        assert {name: metrics[name] for name in ("bits_per_byte", "perplexity", "loss")} == LanguageModeling(
            V
        ).summarise(sums)

    def test_the_untrained_loss_is_that_of_guessing(self) -> None:
        objective = LanguageModeling(256)
        shape = ModelShape(d_model=64, max_length=6)
        head = objective.build_head(shape, nn.Embedding(256, 64))
        batch = Batch(*torch.randint(256, (2, 8, 6)))
        assert objective.score(head, torch.randn(8, 6, 64), batch).loss.item() == pytest.approx(math.log(256), abs=0.1)

    def test_a_tied_head_learns_with_the_embedding(self) -> None:
        objective, embedding = LanguageModeling(V, tied=True), nn.Embedding(V, D)
        head = objective.build_head(make_shape(), embedding)
        hidden, batch = self.make_batch()
        objective.score(head, hidden, batch).loss.backward()  # type: ignore[no-untyped-call]
        assert embedding.weight.grad is not None
        assert embedding.weight.grad.abs().sum() > 0

    def test_a_tied_head_refuses_another_vocabulary(self) -> None:
        with pytest.raises(ValueError, match="11 x 8, got 12 x 8"):
            LanguageModeling(V, tied=True).build_head(make_shape(), nn.Embedding(12, D))

    def test_scores_of_half_precision_are_computed_in_float32(self) -> None:
        hidden, batch = self.make_batch()
        objective = LanguageModeling(V)
        head = objective.build_head(make_shape(), nn.Embedding(V, D)).bfloat16()
        assert objective.score(head, hidden.bfloat16(), batch).loss.dtype == torch.float32
