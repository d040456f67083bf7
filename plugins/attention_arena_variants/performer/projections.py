"""Random directions for the feature maps (Choromanski et al. 2020, section 2.4).

Letters beside the usual ones: m directions.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Distribution = Literal["iid", "orthogonal", "regularised"]
"""iid: independent Gaussian rows. orthogonal: the same rows, each by itself, but at right angles to the others of their
block. regularised: orthogonal at the fixed length sqrt(E), which is biased low and has less variance (SMREG)."""


def draw_directions(distribution: Distribution, m: int, E: int, generator: torch.Generator) -> Tensor:
    """Return `m` directions (m, E) in float64 on the CPU, drawn from `generator`."""
    if distribution == "iid":
        return _gaussian(m, E, generator)
    units = _haar(math.ceil(m / E), E, generator).flatten(0, 1)[:m]
    if distribution == "regularised":
        return units.mul_(math.sqrt(E))
    # As long as independent Gaussian vectors, so that each direction by itself is one.
    return units.mul_(_gaussian(m, E, generator).norm(dim=-1, keepdim=True))


def draw_sets(n: int, distribution: Distribution, m: int, E: int, generator: torch.Generator) -> Tensor:
    """Return `n` independent draws (n, m, E) of `draw_directions`."""
    return torch.stack([draw_directions(distribution, m, E, generator) for _ in range(n)])


def no_projection(E: int, generator: torch.Generator) -> Tensor:
    """Return the axes (1, E, E), under which features are functions of the head itself; nothing is drawn."""
    return torch.eye(E, dtype=torch.float64, device="cpu").unsqueeze(0)


def _haar(n: int, E: int, generator: torch.Generator) -> Tensor:
    """Return `n` orthogonal matrices (n, E, E), uniform over all of them.

    QR alone is not uniform: it fixes signs, and so the half space of the first row.
    """
    orthogonal, triangle = torch.linalg.qr(_gaussian(n * E, E, generator).view(n, E, E))
    return torch.mul(orthogonal, triangle.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)).mT


def _gaussian(m: int, E: int, generator: torch.Generator) -> Tensor:
    return torch.randn(m, E, generator=generator, dtype=torch.float64, device="cpu")
