"""Public implementations from PyPI, each in the configuration nearest to ours; imported only when they are built."""

from __future__ import annotations

from functools import partial

from bench.adapters.linformer import LucidrainsLinformer, TatkinLinformer
from bench.adapters.longformer import HuggingFaceBigBird, HuggingFaceLongformer, IdiapWindow, LucidrainsWindow
from bench.adapters.performer import IdiapPerformer, LucidrainsLinear, LucidrainsPerformer
from bench.adapters.reformer import HuggingFaceReformer, IdiapReformer, LucidrainsReformer
from bench.adapters.transformer_xl import HuggingFaceTransformerXL
from bench.cases import IDEAS, Direction, Idea, Implementation

BIDIRECTIONAL: tuple[Direction, ...] = ("bidirectional",)
CAUSAL: tuple[Direction, ...] = ("causal",)
BY_NAME = {idea.name: idea for idea in IDEAS}


def _reformers(idea: Idea) -> tuple[Implementation, ...]:
    suffix = idea.name.removeprefix("reformer")
    return (
        Implementation(
            f"reformer-pytorch{suffix}",
            idea,
            partial(LucidrainsReformer, n_hashes=idea.n_hashes),
            package="reformer-pytorch",
            remark="counts a key once per hash round; the first chunk of a round sees the last of the one before",
        ),
        Implementation(
            f"transformers Reformer{suffix}",
            idea,
            partial(HuggingFaceReformer, n_hashes=idea.n_hashes),
            package="transformers",
            remark="counts a key once per hash round",
        ),
        Implementation(
            f"fast-transformers Reformer{suffix}",
            idea,
            partial(IdiapReformer, n_hashes=idea.n_hashes),
            package="pytorch-fast-transformers",
            remark="averages hash rounds unweighted; tokens attend to themselves; n x n mask when causal",
        ),
    )


LINFORMER, PERFORMER, LONGFORMER, TRANSFORMER_XL = (
    BY_NAME[name] for name in ("linformer", "performer", "longformer", "transformer_xl")
)

PEERS: tuple[Implementation, ...] = (
    Implementation("linformer (PyPI)", LINFORMER, LucidrainsLinformer, BIDIRECTIONAL, "linformer"),
    Implementation("linformer-pytorch", LINFORMER, TatkinLinformer, BIDIRECTIONAL, "linformer-pytorch"),
    Implementation(
        "linformer-pytorch, causal",
        LINFORMER,
        TatkinLinformer,
        CAUSAL,
        "linformer-pytorch",
        counts=False,
        remark="Linformer has no causal form; this one masks slots that already mix the whole sequence",
    ),
    Implementation("performer-pytorch", PERFORMER, LucidrainsPerformer, BIDIRECTIONAL, "performer-pytorch"),
    Implementation(
        "performer-pytorch, causal",
        PERFORMER,
        LucidrainsPerformer,
        CAUSAL,
        "performer-pytorch",
        remark="without a CUDA build of fast-transformers it holds n m E numbers",
    ),
    Implementation(
        "performer-pytorch, compiled kernel",
        PERFORMER,
        partial(LucidrainsPerformer, kernel="compiled"),
        CAUSAL,
        "performer-pytorch",
        remark="given the CPU kernel of fast-transformers, which the package itself looks for on CUDA only",
    ),
    Implementation(
        "fast-transformers Favor",
        PERFORMER,
        IdiapPerformer,
        package="pytorch-fast-transformers",
        remark="features are exp(u) and exp(-u) of half as many projections, not stabilised",
    ),
    Implementation(
        "linear-attention-transformer",
        PERFORMER,
        LucidrainsLinear,
        package="linear-attention-transformer",
        counts=False,
        remark="no random features: d_head numbers a token instead of 256",
    ),
    *_reformers(BY_NAME["reformer, 1 hash"]),
    *_reformers(BY_NAME["reformer, 4 hashes"]),
    Implementation("transformers Longformer", LONGFORMER, HuggingFaceLongformer, BIDIRECTIONAL, "transformers"),
    Implementation("local-attention", LONGFORMER, LucidrainsWindow, package="local-attention"),
    Implementation(
        "fast-transformers local",
        LONGFORMER,
        IdiapWindow,
        package="pytorch-fast-transformers",
        remark="reads an n x n mask; causal costs twice the window",
    ),
    Implementation(
        "transformers BigBird",
        LONGFORMER,
        HuggingFaceBigBird,
        BIDIRECTIONAL,
        "transformers",
        counts=False,
        remark="another pattern with as many keys: window, random and global blocks",
    ),
    Implementation("transformers TransfoXL", TRANSFORMER_XL, HuggingFaceTransformerXL, CAUSAL, "transformers"),
)
