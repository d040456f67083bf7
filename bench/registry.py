"""Every implementation by name, and the state of the packages that bring them."""

from __future__ import annotations

import importlib
import os
import warnings
from importlib.metadata import PackageNotFoundError, version

import torch

from bench.adapters import PEERS
from bench.cases import Implementation
from bench.layers import OURS

MODULES = (
    "linformer",
    "linformer_pytorch",
    "performer_pytorch",
    "reformer_pytorch",
    "local_attention",
    "linear_attention_transformer.linear_attention_transformer",
    "fast_transformers.attention",
    "transformers.models.longformer.modeling_longformer",
    "transformers.models.reformer.modeling_reformer",
    "transformers.models.big_bird.modeling_big_bird",
    "transformers.models.deprecated.transfo_xl.modeling_transfo_xl",
)


def find(name: str) -> Implementation:
    """Return the implementation of that name."""
    return next(each for each in (*OURS, *PEERS) if each.name == name)


def import_peers() -> dict[str, str]:
    """Import what is installed, quietly; return module -> why it could not be imported."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    problems: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in MODULES:
            try:
                importlib.import_module(module)
            # Foreign code, which can fail in any way while it is imported.
            except Exception as error:
                problems[module] = f"{type(error).__name__}: {error}"
    warnings.filterwarnings("ignore", module="|".join(module.partition(".")[0] for module in MODULES))
    # Libraries that are linked with -ffast-math round denormal numbers to zero for everyone.
    torch.set_flush_denormal(False)
    return problems


def version_of(package: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
