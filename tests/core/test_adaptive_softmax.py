import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.catalogue import load_catalogue
from attention_arena.layers.adaptive_embedding import AdaptiveEmbedding, FrequencyBands
from attention_arena.measures import count_parameters
from attention_arena.model import SequenceModel
from attention_arena.objectives import Adaptive, LanguageModeling
from attention_arena.objectives.adaptive_softmax import AdaptiveSoftmax
from attention_arena.task import Batch
from attention_arena.variant import ModelShape

V, D, CUTOFFS = 40, 16, (8, 20, 33)
SETTINGS = [
    pytest.param(div, tied, projections, id=f"div {div}, tied {tied}, matrices {projections}")
    for div, tied, projections in [
        (1, False, False),
        (1, True, True),
        (4, False, True),
        (4, True, False),
        (4, True, True),
    ]
]


def objective(div: int = 4, tied: bool = True, projections: bool = True, **settings: Any) -> LanguageModeling:
    return LanguageModeling(V, "word", tied, adaptive=Adaptive(CUTOFFS, div, projections), **settings)


def parts(goal: LanguageModeling, width: int = D) -> tuple[AdaptiveEmbedding, AdaptiveSoftmax]:
    torch.manual_seed(0)
    shape = ModelShape(d_model=width, n_heads=2, max_length=6, causal=True)
    embedding = goal.build_embedding(shape, V)
    head = goal.build_head(shape, embedding)
    assert isinstance(embedding, AdaptiveEmbedding)
    assert isinstance(head, AdaptiveSoftmax)
    for bias in head.biases:
        nn.init.normal_(bias)
    return embedding.double(), head.double()


def dense(head: AdaptiveSoftmax, hidden: Tensor) -> Tensor:
    """The same distribution word by word: each word's probability is the product of two full softmaxes' terms."""
    edges = [0, *CUTOFFS, V]

    def narrowed(band: int) -> Tensor:
        return hidden @ head.matrices[band] if len(head.matrices) else hidden

    commonest = torch.cat([head.tables[0], head.band_table]), torch.cat([head.biases[0], head.band_bias])
    first = (narrowed(0) @ commonest[0].T + commonest[1]).softmax(-1)
    columns = []
    for word in range(V):
        band = sum(word >= cutoff for cutoff in CUTOFFS)
        if band == 0:
            columns.append(first[:, word])
            continue
        inside = (narrowed(band) @ head.tables[band].T + head.biases[band]).softmax(-1)
        columns.append(first[:, CUTOFFS[0] + band - 1] * inside[:, word - edges[band]])
    return torch.stack(columns, dim=-1).log()


@pytest.mark.parametrize(("div", "tied", "projections"), SETTINGS)
class TestDistribution:
    def test_it_sums_to_one_and_is_the_product_of_two_softmaxes(self, div: int, tied: bool, projections: bool) -> None:
        _, head = parts(objective(div, tied, projections))
        hidden = torch.randn(7, D, dtype=torch.float64)
        log_probabilities = head(hidden)
        torch.testing.assert_close(log_probabilities.exp().sum(-1), torch.ones(7, dtype=torch.float64))
        torch.testing.assert_close(log_probabilities, dense(head, hidden))

    def test_what_a_word_costs_is_its_log_probability(self, div: int, tied: bool, projections: bool) -> None:
        _, head = parts(objective(div, tied, projections))
        hidden = torch.randn(V, D, dtype=torch.float64, requires_grad=True)
        words = torch.randperm(V)
        parameters = [hidden, *head.parameters()]
        nats = head.predict(hidden, words).nats
        expected = functional.nll_loss(head(hidden), words, reduction="none")
        torch.testing.assert_close(nats, expected)
        found, wanted = (torch.autograd.grad(loss.sum(), parameters) for loss in (nats, expected))
        for left, right in zip(found, wanted, strict=True):
            torch.testing.assert_close(left, right)


class TestSections:
    @pytest.mark.parametrize("logits_at_once", [1, 30, 200])
    def test_they_change_neither_the_score_nor_the_gradients(self, logits_at_once: int) -> None:
        batch = Batch(*torch.randint(V, (2, 3, 6)), scored=torch.rand(3, 6) < 0.7)
        hidden = torch.randn(3, 6, D, dtype=torch.float64, requires_grad=True)
        results = []
        for goal in (objective(), objective(logits_at_once=logits_at_once)):
            _, head = parts(goal)
            score = goal.score(head, hidden, batch)
            results.append([score.loss, *torch.autograd.grad(score.loss, [hidden, *head.parameters()])])
        for left, right in zip(*results, strict=True):
            torch.testing.assert_close(left, right)

    def test_no_more_logits_than_allowed_exist_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []
        linear = functional.linear

        def spy(*arguments: Any) -> Tensor:
            output = linear(*arguments)
            seen.append(output.numel())
            return output

        monkeypatch.setattr(functional, "linear", spy)
        _, head = parts(objective(div=1, logits_at_once=60))
        head.predict(torch.randn(200, D, dtype=torch.float64), torch.randint(V, (200,)))
        assert max(seen) <= 60

    def test_words_of_a_band_that_does_not_occur_cost_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, head = parts(objective())
        monkeypatch.setattr(head, "_tail", lambda band, hidden: pytest.fail("no word of this band was asked for"))
        head.predict(torch.randn(9, D, dtype=torch.float64), torch.randint(CUTOFFS[0], (9,)))


class TestAgainstPyTorch:
    def test_it_agrees_with_torchs_adaptive_softmax(self) -> None:
        width = 4 * D
        _, head = parts(objective(tied=False), width)
        theirs = nn.AdaptiveLogSoftmaxWithLoss(width, V, list(CUTOFFS), div_value=4.0, head_bias=True).double()
        with torch.no_grad():
            # Theirs has no matrix before the first band, and no biases inside the others.
            theirs.head.weight.copy_(torch.cat([head.tables[0], head.band_table]) @ head.matrices[0].T)
            theirs.head.bias.copy_(torch.cat([head.biases[0], head.band_bias]))
            for band, tail in enumerate(theirs.tail, start=1):
                assert isinstance(tail, nn.Sequential)
                tail[0].weight.copy_(head.matrices[band].T)
                tail[1].weight.copy_(head.tables[band])
                head.biases[band].zero_()
        hidden = torch.randn(11, width, dtype=torch.float64)
        torch.testing.assert_close(head(hidden), theirs.log_prob(hidden))
        words = torch.randint(V, (11,))
        torch.testing.assert_close(head.predict(hidden, words).nats, -theirs(hidden, words).output)


class TestEmbedding:
    @pytest.mark.parametrize("div", [1, 4])
    def test_a_vector_is_its_bands_row_widened(self, div: int) -> None:
        embedding, _ = parts(objective(div))
        vectors = embedding(torch.arange(V).view(2, -1)).view(V, D)
        for band, (start, stop) in enumerate(zip((0, *CUTOFFS), (*CUTOFFS, V), strict=True)):
            rows = embedding.tables[band].weight
            assert isinstance(rows, Tensor)
            assert rows.shape == (stop - start, D // div**band or 1)
            expected = rows @ embedding.widen[band].weight.T if div > 1 else rows  # type: ignore[operator]
            torch.testing.assert_close(vectors[start:stop], expected)

    @pytest.mark.parametrize("div", [1, 2, 4])
    def test_every_band_starts_at_a_plain_embeddings_size(self, div: int) -> None:
        torch.manual_seed(0)
        embedding = AdaptiveEmbedding(FrequencyBands(4000, 256, [1000, 2000, 3000], div))
        vectors = embedding(torch.arange(4000))
        for band in vectors.split(1000):
            assert band.std().item() == pytest.approx(256**-0.5, rel=0.15)

    def test_its_tables_are_not_decayed(self) -> None:
        embedding, _ = parts(objective())
        assert all(isinstance(table, nn.Embedding) for table in embedding.tables)

    @pytest.mark.parametrize("cutoffs", [(), (0, 5), (5, 5), (9, 5), (5, 40), (41,)])
    def test_cutoffs_that_do_not_fit_are_refused(self, cutoffs: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"rising numbers from 1 to 39"):
            LanguageModeling(V, "word", adaptive=Adaptive(cutoffs))


class TestModel:
    def build(self, goal: LanguageModeling, width: int = D) -> SequenceModel:
        torch.manual_seed(0)
        shape = ModelShape(d_model=width, n_heads=2, d_ff=16, n_layers=1, max_length=6, causal=True)
        softmax = load_catalogue().variant("softmax")
        return SequenceModel(softmax.build(softmax.options(), shape), shape, goal.vocab_size, goal)

    def test_tied_weights_are_shared_and_count_once(self) -> None:
        bands = [(8, 16), (12, 4), (13, 1), (7, 1)]
        tables = sum(size * width for size, width in bands)
        matrices = sum(D * width for _, width in bands)
        for tied, own in ((True, D * D), (False, tables + matrices)):
            counts = count_parameters(self.build(objective(tied=tied)))
            assert counts["embedding"] == tables + matrices + 6 * D
            assert counts["head"] == own + V + 3 * D + 3
            assert counts["total"] == sum(counts[part] for part in ("embedding", "backbone", "head"))

    def test_transformer_xls_wikitext_103_model_has_its_parameters(self) -> None:
        goal = LanguageModeling(267_735, "word", tied=True, adaptive=Adaptive((20_000, 40_000, 200_000), div_value=1))
        with torch.device("meta"):
            shape = ModelShape(d_model=410, n_heads=10, max_length=150, causal=True)
            embedding = goal.build_embedding(shape, 267_735)
            head = goal.build_head(shape, embedding)
        parameters = {id(p): p.numel() for module in (embedding, head) for p in module.parameters()}
        # 16 layers of five 410 x 410 maps, a feed-forward of 2100, two norms; two vectors u and v for all layers.
        backbone = 16 * (5 * 410**2 + 2 * 410 * 2100 + 2100 + 410 + 4 * 410) + 2 * 410
        assert (sum(parameters.values()) + backbone) / 1e6 == pytest.approx(151, abs=0.5)

    def test_it_learns_frequencies(self) -> None:
        model = self.build(objective(), width=8).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        weights = 1.0 / torch.arange(1, V + 1)
        entropy = -(weights / weights.sum() * (weights / weights.sum()).log()).sum().item()
        losses = []
        for _ in range(150):
            batch = Batch(torch.zeros(16, 6, dtype=torch.long), torch.multinomial(weights, 96, True).view(16, 6))
            loss = model.objective.score(model.head, model(batch).hidden, batch).loss
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        assert sum(losses[-30:]) / 30 == pytest.approx(entropy, abs=0.1)
        assert math.log(V) - entropy > 0.5, "the frequencies differ enough to be learned"

    def test_it_computes_in_half_precision_and_scores_in_float32(self) -> None:
        model = self.build(objective())
        batch = Batch(*torch.randint(V, (2, 3, 6)))
        exact = model.objective.score(model.head, model(batch).hidden, batch).loss
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.objective.score(model.head, model(batch).hidden, batch).loss
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), rel=0.02)

    def test_accuracy_is_refused(self) -> None:
        with pytest.raises(ValueError, match="by_accuracy needs the logits of all words"):
            objective(by_accuracy=True)
        _, head = parts(objective())
        with pytest.raises(ValueError, match="does not know the likeliest word"):
            head.predict(torch.randn(2, D), torch.zeros(2, dtype=torch.long), with_correct=True)
