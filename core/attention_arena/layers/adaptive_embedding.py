"""Input embeddings that spend width by frequency (Baevski & Auli 2019; Dai et al. 2019): rare words get fewer numbers.

Ids are ranks: 0 is the commonest token. Cut-offs divide them into bands, and band i has vectors of width
D / div_value^i, which a matrix widens to D.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attention_arena.layers.linear import Linear


class FrequencyBands:
    """A vocabulary of ranked ids, cut into bands: their bounds, sizes and widths, the commonest band first.

    Raises ValueError for cut-offs that do not rise, or do not lie inside the vocabulary.
    """

    def __init__(self, vocab_size: int, width: int, cutoffs: Sequence[int], div_value: int = 4) -> None:
        edges = [0, *cutoffs, vocab_size]
        if not cutoffs or any(stop <= start for start, stop in itertools.pairwise(edges)):
            raise ValueError(
                f"cutoffs must be one or more rising numbers from 1 to {vocab_size - 1} (the vocabulary has "
                f"{vocab_size:,} tokens), got {list(cutoffs)}"
            )
        if div_value < 1:
            raise ValueError(f"div_value must be at least 1, got {div_value}")
        self.vocab_size, self.width, self.div_value = vocab_size, width, div_value
        self.bounds = tuple(itertools.pairwise(edges))
        self.sizes = tuple(stop - start for start, stop in self.bounds)
        self.widths = tuple(max(1, width // div_value**band) for band in range(len(self.sizes)))

    @property
    def projected(self) -> bool:
        """Whether a matrix stands between a band's vectors and the model's width; with one width for all, none does."""
        return self.div_value > 1

    def of(self, ids: Tensor) -> Tensor:
        """Return the band (...) of each id (...)."""
        starts = torch.tensor([start for start, _ in self.bounds[1:]], device=ids.device)
        return torch.bucketize(ids, starts, right=True)


class AdaptiveEmbedding(nn.Module):
    """Vectors (..., D) of ranked ids (...), from one table and one matrix for each band.

    Tables start at standard deviation (band's width)^-1/2 and matrices at D^-1/2, so that every token's vector starts
    with the deviation D^-1/2 of a plain embedding's.
    """

    def __init__(self, bands: FrequencyBands) -> None:
        super().__init__()
        self.bands = bands
        self.tables = nn.ModuleList(
            nn.Embedding(size, width) for size, width in zip(bands.sizes, bands.widths, strict=True)
        )
        self.widen = nn.ModuleList(
            Linear(width, bands.width, bias=False) for width in (bands.widths if bands.projected else ())
        )
        for table, width in zip(self.tables, bands.widths, strict=True):
            nn.init.normal_(table.weight, std=width**-0.5)  # type: ignore[arg-type]
        for matrix in self.widen:
            nn.init.normal_(matrix.weight, std=bands.width**-0.5)  # type: ignore[arg-type]

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors of `ids`, in the tables' precision."""
        flat = ids.flatten()
        first = self.tables[0].weight
        assert isinstance(first, Tensor)
        vectors = first.new_zeros(len(flat), self.bands.width)
        bands = self.bands.of(flat)
        for band, (start, _) in enumerate(self.bands.bounds):
            places = (bands == band).nonzero().squeeze(1)
            found = self.tables[band](flat[places] - start)
            if self.bands.projected:
                found = self.widen[band](found)
            vectors = vectors.index_copy(0, places, found.to(vectors.dtype))
        return vectors.view(*ids.shape, self.bands.width)
