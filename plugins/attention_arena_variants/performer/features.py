"""Feature maps phi whose products estimate or define a kernel: K(x, y) = phi(x) . phi(y) (Choromanski et al. 2020).

`phi` is the paper's formula, and the specification. `stable` is what attention computes with: features of order 1, and
the logarithm of what each token's were divided by. That factor cancels in a query, and weighs a key.

Letters beside the usual ones: N rows (batch times heads), C tokens of a chunk, M features, m directions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Features(NamedTuple):
    """Features of some tokens, up to a positive factor for each token."""

    values: Tensor
    """(N, C, M)."""
    inner: Tensor
    """(N, C, M): what the derivative is made of; its meaning is the map's own."""


class FeatureMap(ABC):
    """A feature map; `scale` multiplies its inputs (1 / E^(1/4) where it estimates softmax)."""

    signed = True
    """Features may be negative or zero, so that a denominator may be too."""
    n_per_weight = 1
    """Features of one row of `weights`."""
    weights_per_direction = 1
    """Rows of `weights` of one direction."""
    estimates_softmax = False
    """Products of features estimate exp(q . k scale^2), rather than define a kernel of their own."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def weights(self, directions: Tensor) -> Tensor:
        """Return what tokens are multiplied by, rows (H, M / n_per_weight, E) of directions (H, m, E); H may be 1."""
        return directions * self.scale

    def log_scale(self, x: Tensor) -> Tensor:
        """Return the logarithm (..., 1) of the size that features of `x` (..., E) grow to, where they are signed."""
        return torch.zeros_like(x[..., :1])

    @abstractmethod
    def phi(self, x: Tensor, directions: Tensor) -> Tensor:
        """Return the paper's features (..., T, M) of `x` (..., T, E) under directions (..., m, E)."""

    @abstractmethod
    def stable(self, x: Tensor, weights: Tensor) -> Features:
        """Return the features of `x` (N, C, E) under `weights` (N, M, E), none of them large."""

    @abstractmethod
    def stable_and_scale(self, x: Tensor, weights: Tensor) -> tuple[Features, Tensor]:
        """Return `stable` and log_scale (N, C, 1): phi(x) is the values times its exponential, up to a constant."""

    @abstractmethod
    def pull(self, x: Tensor, weights: Tensor, features: Features, grad: Tensor) -> Tensor:
        """Return the gradient of `x` (N, C, E), given `grad` (N, C, M) of the values; writes over `grad`.

        What the values were divided by counts as a constant, because attention does not depend on it.
        """


class Exponential(FeatureMap):
    """exp(w . x - |x|^2 / 2) + eps over the directions w: positive features, lemma 1 of the paper.

    `mirrored` adds the features of -w (hyperbolic). Without `quadratic` it is exp(w . x) + eps, a kernel of its own.
    """

    signed = False

    def __init__(self, scale: float, *, mirrored: bool = False, quadratic: bool = True, eps: float = 0.0) -> None:
        super().__init__(scale)
        self.mirrored, self.eps = mirrored, eps
        self.weights_per_direction = 2 if mirrored else 1
        self.curvature = scale**2 if quadratic else 0.0
        self.estimates_softmax = quadratic

    @property
    def as_mixture(self) -> bool:
        """Attention can be computed as a mixture of what the features hold."""
        return not self.eps

    def weights(self, directions: Tensor) -> Tensor:
        """Return directions (H, M, E), with their opposites where features are mirrored."""
        weights = super().weights(directions)
        return torch.cat([weights, -weights], dim=-2) if self.mirrored else weights

    def norm_term(self, x: Tensor) -> Tensor:
        """Return -|x|^2 / 2 (..., 1) of unscaled `x` (..., E); 0 for a kernel without it."""
        # By the length: squares of all numbers would be one more pass over them.
        length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return length.square().mul_(-self.curvature / 2)

    def phi(self, x: Tensor, directions: Tensor) -> Tensor:
        """Return (exp(W x - |x|^2 / 2) + eps) / sqrt(M)."""
        exponent = x @ self.weights(directions).mT + self.norm_term(x)
        return torch.mul(exponent.exp() + self.eps, exponent.shape[-1] ** -0.5)

    def stable(self, x: Tensor, weights: Tensor) -> Features:
        """Return features of which the largest is 1, or with eps at most 2; inner is the part that depends on `x`."""
        if self.eps:
            return self.stable_and_scale(x, weights)[0]
        return self._over_largest(x, weights)[0]

    def stable_and_scale(self, x: Tensor, weights: Tensor) -> tuple[Features, Tensor]:
        """Return the features of `stable` and their log scale."""
        norm_term = self.norm_term(x)
        if not self.eps:
            features, highest = self._over_largest(x, weights)
            return features, highest + norm_term
        exponent = torch.bmm(x, weights.mT)
        log_scale = (exponent.amax(-1, keepdim=True) + norm_term).clamp(min=math.log(self.eps))
        inner = (exponent + (norm_term - log_scale)).exp_()
        return Features(inner + (math.log(self.eps) - log_scale).exp_(), inner), log_scale

    def _over_largest(self, x: Tensor, weights: Tensor) -> tuple[Features, Tensor]:
        """Return exp(w . x) over the largest of them, and the logarithm of that (N, C, 1)."""
        exponent = torch.bmm(x, weights.mT)
        # No gradient goes through the largest: whatever features are divided by cancels.
        highest = exponent.detach().amax(-1, keepdim=True)
        values = exponent.sub_(highest).exp_()
        return Features(values, values), highest

    def pull(self, x: Tensor, weights: Tensor, features: Features, grad: Tensor) -> Tensor:
        """Return the gradient of `x`."""
        grad = grad.mul_(features.inner)
        grad_x = torch.bmm(grad, weights)
        return grad_x.addcmul_(x, grad.sum(-1, keepdim=True), value=-self.curvature) if self.curvature else grad_x


class Trigonometric(FeatureMap):
    """exp(|x|^2 / 2) [sin(w . x), cos(w . x)]: unbiased as well, but of either sign."""

    n_per_weight = 2
    estimates_softmax = True

    def phi(self, x: Tensor, directions: Tensor) -> Tensor:
        """Return exp(|x|^2 / 2) [sin W x, cos W x] / sqrt(m)."""
        projected = x @ self.weights(directions).mT
        return torch.mul(self.log_scale(x).exp() * _sine_and_cosine(projected), projected.shape[-1] ** -0.5)

    def stable(self, x: Tensor, weights: Tensor) -> Features:
        """Return sines and cosines."""
        values = _sine_and_cosine(torch.bmm(x, weights.mT))
        return Features(values, values)

    def stable_and_scale(self, x: Tensor, weights: Tensor) -> tuple[Features, Tensor]:
        """Return sines and cosines, and |x|^2 / 2."""
        return self.stable(x, weights), self.log_scale(x)

    def pull(self, x: Tensor, weights: Tensor, features: Features, grad: Tensor) -> Tensor:
        """Return the gradient of `x`."""
        (sine, cosine), (of_sine, of_cosine) = features.inner.chunk(2, -1), grad.chunk(2, -1)
        grad_x = torch.bmm(of_sine * cosine - of_cosine * sine, weights)
        along = grad.mul_(features.inner).sum(-1, keepdim=True)
        return grad_x.addcmul_(x, along, value=self.scale**2)

    def log_scale(self, x: Tensor) -> Tensor:
        """Return |x|^2 / 2 (..., 1) of `x` (..., E): the logarithm of the length of phi(x)."""
        return x.square().sum(-1, keepdim=True).mul_(self.scale**2 / 2)


def _sine_and_cosine(projected: Tensor) -> Tensor:
    return torch.cat([projected.sin(), projected.cos()], dim=-1)


class Pointwise(FeatureMap):
    """f(w . x) + eps for any function f: generalised attention, which estimates no softmax."""

    def __init__(self, scale: float, function: Callable[[Tensor], Tensor], *, signed: bool, eps: float) -> None:
        super().__init__(scale)
        self.function, self.signed, self.eps = function, signed, eps

    def phi(self, x: Tensor, directions: Tensor) -> Tensor:
        """Return (f(W x) + eps) / sqrt(m)."""
        projected = x @ self.weights(directions).mT
        return torch.mul(self.function(projected) + self.eps, projected.shape[-1] ** -0.5)

    def stable(self, x: Tensor, weights: Tensor) -> Features:
        """Return the features as they are; inner is what the function was taken of."""
        projected = torch.bmm(x, weights.mT)
        return Features(self.function(projected) + self.eps, projected)

    def stable_and_scale(self, x: Tensor, weights: Tensor) -> tuple[Features, Tensor]:
        """Return the features, and 0."""
        return self.stable(x, weights), self.log_scale(x)

    def pull(self, x: Tensor, weights: Tensor, features: Features, grad: Tensor) -> Tensor:
        """Return the gradient of `x`."""
        # Out of inference mode, in which nothing can be differentiated.
        with torch.inference_mode(False), torch.enable_grad():
            projected = features.inner.clone().requires_grad_()
            (grad_projected,) = torch.autograd.grad(self.function(projected), projected, grad)
        return torch.bmm(grad_projected, weights)


def _elu_plus_one(x: Tensor) -> Tensor:
    return functional.elu(x) + 1


def _identity(x: Tensor) -> Tensor:
    return x


class Pointwises(NamedTuple):
    """A function for `Pointwise`, and whether its values may be negative."""

    function: Callable[[Tensor], Tensor]
    signed: bool


FUNCTIONS = {
    "relu": Pointwises(torch.relu, signed=False),
    "gelu": Pointwises(functional.gelu, signed=True),
    "elu": Pointwises(_elu_plus_one, signed=False),
    "sigmoid": Pointwises(torch.sigmoid, signed=False),
    "abs": Pointwises(torch.abs, signed=False),
    "tanh": Pointwises(torch.tanh, signed=True),
    "cos": Pointwises(torch.cos, signed=True),
    "identity": Pointwises(_identity, signed=True),
}
"""Pointwise functions of the general kernel by name; `exp` is `Exponential` without its quadratic term."""
