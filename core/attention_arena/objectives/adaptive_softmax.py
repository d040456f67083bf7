"""A softmax over a large vocabulary in two steps: first the common words and the bands, then a word of the band.

Grave et al. 2017, Efficient softmax approximation for GPUs, as Transformer-XL uses it (Dai et al. 2019): a distribution
over all words, normalised exactly, in which a rare word's probability is that of its band times that of the word in it.
The logits of a band are computed only where the next word lies in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_arena.layers import linear
from attention_arena.layers.adaptive_embedding import AdaptiveEmbedding, FrequencyBands
from attention_arena.objectives.vocabulary import LOGITS_AT_ONCE, Predicted, predict_in_sections


@dataclass(frozen=True)
class Adaptive:
    """How a vocabulary of ranked ids is cut into bands, for the embedding and for the softmax."""

    cutoffs: tuple[int, ...]
    """The first id of every band but the first one."""
    div_value: int = 4
    """By how much a band's vectors are narrower than those of the band before."""
    tied_projections: bool = True
    """Whether tied weights share the bands' matrices too, but for the first band's."""

    def bands(self, vocab_size: int, width: int) -> FrequencyBands:
        """Return the bands; raises ValueError where the cut-offs do not fit the vocabulary."""
        return FrequencyBands(vocab_size, width, self.cutoffs, self.div_value)


class AdaptiveSoftmax(nn.Module):
    """The head of an adaptive softmax, with its own tables or an adaptive embedding's.

    With `div_value` 1 there are no matrices between hidden states and tables. `tied_projections` shares the matrices of
    the embedding, transposed, in every band but the first.
    """

    def __init__(
        self,
        bands: FrequencyBands,
        tied_to: AdaptiveEmbedding | None = None,
        tied_projections: bool = True,
        logits_at_once: int = LOGITS_AT_ONCE,
    ) -> None:
        super().__init__()
        self.bands, self.logits_at_once = bands, logits_at_once
        n_tails = len(bands.sizes) - 1
        self.tables = nn.ParameterList(
            torch.empty(size, width).normal_(std=0.02) if tied_to is None else tied_to.tables[band].weight
            for band, (size, width) in enumerate(zip(bands.sizes, bands.widths, strict=True))
        )
        self.biases = nn.ParameterList(torch.zeros(size) for size in bands.sizes)
        self.band_table = nn.Parameter(torch.empty(n_tails, bands.widths[0]).normal_(std=0.02))
        self.band_bias = nn.Parameter(torch.zeros(n_tails))
        self.matrices = nn.ParameterList(
            tied_to.widen[band].weight  # (D, width of the band)
            if tied_to is not None and tied_projections and band > 0
            else torch.empty(bands.width, width).normal_(std=bands.width**-0.5)
            for band, width in enumerate(bands.widths if bands.projected else ())
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the log-probabilities (..., V) of every word, given `hidden` (..., D); holds them all."""
        first = functional.log_softmax(self._widened(self._first(hidden)), dim=-1)
        n_first = self.bands.sizes[0]
        parts = [first[..., :n_first]]
        for band in range(1, len(self.bands.sizes)):
            inside = functional.log_softmax(self._widened(self._tail(band, hidden)), dim=-1)
            parts.append(first[..., n_first + band - 1, None] + inside)
        return torch.cat(parts, dim=-1)

    def predict(self, hidden: Tensor, targets: Tensor, with_correct: bool = False) -> Predicted:
        """Return what the words `targets` (N,) cost, given `hidden` (N, D); never holds all logits.

        Which word is the likeliest would take the logits of every band, so `with_correct` raises ValueError.
        """
        if with_correct:
            raise ValueError("an adaptive softmax does not know the likeliest word; compare perplexity, not accuracy")
        bands, n_first = self.bands.of(targets), self.bands.sizes[0]
        symbols = torch.where(bands == 0, targets, n_first + bands - 1)
        n_symbols = n_first + len(self.band_bias)
        nats = predict_in_sections(self._first, hidden, symbols, self.logits_at_once // n_symbols).nats
        for band, (start, stop) in enumerate(self.bands.bounds):
            places = (bands == band).nonzero().squeeze(1)
            if band == 0 or not len(places):
                continue
            inside = predict_in_sections(
                partial(self._tail, band),
                hidden[places],
                targets[places] - start,
                self.logits_at_once // (stop - start),
            )
            nats = nats.index_add(0, places, inside.nats)
        return Predicted(nats, None)

    def _first(self, hidden: Tensor) -> Tensor:
        """Return logits of the first band's words and of the other bands."""
        narrow = self._narrow(0, hidden)
        words = linear(narrow, self.tables[0], self.biases[0])
        return torch.cat([words, linear(narrow, self.band_table, self.band_bias)], dim=-1)

    def _tail(self, band: int, hidden: Tensor) -> Tensor:
        """Return logits of a band's words."""
        return linear(self._narrow(band, hidden), self.tables[band], self.biases[band])

    def _narrow(self, band: int, hidden: Tensor) -> Tensor:
        return linear(hidden, self.matrices[band].t()) if self.bands.projected else hidden

    @staticmethod
    def _widened(logits: Tensor) -> Tensor:
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
