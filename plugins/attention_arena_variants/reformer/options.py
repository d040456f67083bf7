"""Options of Reformer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from attention_arena.variant import Options
from attention_arena_variants.reformer.hashing import choose_factors
from attention_arena_variants.reformer.layout import Rules


class ReformerOptions(Options):
    """Options of Reformer; each technique of the paper is a switch of its own."""

    attention: Literal["lsh", "full"] = Field(
        "lsh", description="hashed candidates, or all pairs and their n x n matrix"
    )
    shared_qk: bool = Field(True, description="one projection for query and key; false needs attention: full")
    n_hashes: int = Field(1, ge=1, description="hash rounds (n_r in the paper)")
    eval_hashes: int | None = Field(None, ge=1, description="hash rounds in evaluation; null: n_hashes")
    bucket_size: int = Field(64, ge=1, description="sorted tokens per chunk (m in the paper)")
    n_buckets: int | None = Field(None, ge=2, description="buckets of a round, even; null: two per chunk of max_length")
    within_bucket: bool = Field(False, description="attend inside the query's own bucket alone, as the paper writes it")
    wrap: bool = Field(
        False,
        description="the first chunk looks back to the last one of its round, so that a row may depend on its padding",
    )
    duplicate_correction: bool = Field(True, description="count a key once, however many rounds propose it")
    scale: Literal["unit", "sqrt"] = Field(
        "unit", description="shared keys of length 1 (the authors'), or 1/sqrt(d_head); others are always divided by it"
    )
    strict_causal: bool = Field(
        False,
        description="causal models attend to the bucket_size tokens before in the bucket, so that later tokens cannot"
        " move the chunks (not in the paper)",
    )
    centred_hashing: bool = Field(False, description="hash queries less their mean (not in the paper)")
    attention_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout of probabilities, shared over chunks")
    reversible: bool = Field(True, description="reversible residual stack, whatever the shared shape says")
    feed_forward_chunks: int | None = Field(
        None, ge=1, description="pieces along the sequence for the feed-forward layer; null: the shared shape's"
    )

    @field_validator("n_buckets")
    @classmethod
    def _buckets_factorise(cls, n_buckets: int | None) -> int | None:
        if n_buckets is not None:
            choose_factors(n_buckets, 1, 1)
        return n_buckets

    @model_validator(mode="after")
    def _switches_agree(self) -> ReformerOptions:
        if not self.shared_qk and self.attention == "lsh":
            raise ValueError("shared_qk: false needs attention: full, because LSH sorts queries and keys as one")
        restricting = [name for name in ("within_bucket", "strict_causal") if getattr(self, name)]
        if self.wrap and restricting:
            raise ValueError(f"wrap joins two different buckets, which {restricting[0]}: true parts; set one to false")
        if self.attention == "full" and (restricting or self.wrap):
            name = restricting[0] if restricting else "wrap"
            raise ValueError(f"{name}: true is a rule of hashed attention, got attention: full; leave {name} false")
        return self

    def everywhere(self, length: int) -> bool:
        """Whether all pairs of `length` tokens count: by choice, or because every round proposes them in one chunk."""
        restricted = self.within_bucket or self.strict_causal
        return self.attention == "full" or (self.bucket_size >= length and not restricted)

    def rules(self, causal: bool, length: int, scale: float = 1.0, dropout: float = 0.0) -> Rules:
        """Return the rules of hashed attention over `length` tokens."""
        return Rules(
            chunk=min(self.bucket_size, length),
            causal=causal,
            reach=self.bucket_size if self.strict_causal else 1,
            coded=self.within_bucket or self.strict_causal,
            wrap=self.wrap,
            duplicate_correction=self.duplicate_correction,
            scale=scale,
            dropout=dropout,
        )
