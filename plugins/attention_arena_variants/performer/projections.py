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
    units = torch.cat([_haar(E, generator) for _ in range(math.ceil(m / E))])[:m]
    if distribution == "regularised":
        return units * math.sqrt(E)
    # As long as independent Gaussian vectors, so that each direction by itself is one.
    return units * _gaussian(m, E, generator).norm(dim=-1, keepdim=True)


def _haar(E: int, generator: torch.Generator) -> Tensor:
    """Return an orthogonal matrix (E, E), uniform over all of them.

    QR alone is not uniform: it fixes signs, and so the half space of the first row.
    """
    orthogonal, triangle = torch.linalg.qr(_gaussian(E, E, generator))
    return (orthogonal * triangle.diagonal().sign()).T


def _gaussian(m: int, E: int, generator: torch.Generator) -> Tensor:
    return torch.randn(m, E, generator=generator, dtype=torch.float64, device="cpu")
