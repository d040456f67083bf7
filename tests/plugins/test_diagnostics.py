"""Diagnostics work on any variant that can give what they need, and say so of the others."""

from __future__ import annotations

import pytest

from attention_arena.catalogue import load_catalogue
from attention_arena.variant import ModelShape
from tests.core.measures.diagnostics.probe_toys import LENGTH, Given, subject_over, tokens_of

CATALOGUE = load_catalogue(kinds=("variant", "measure"))
OWNERS = {"lsh": "reformer", "kernel_error": "performer"}

pytestmark = pytest.mark.usefixtures("seeded_on_one_thread")


@pytest.mark.parametrize("measure", ["receptive_field", "attention_off", "lsh", "kernel_error"])
@pytest.mark.parametrize("name", sorted(CATALOGUE.variants))
def test_a_measure_has_a_value_or_a_reason(name: str, measure: str) -> None:
    variant = CATALOGUE.variant(name)
    options = variant.options(**variant.check_options[0])
    shape = ModelShape(d_model=8, n_heads=2, n_layers=2, d_ff=16, max_length=LENGTH)
    adapted = variant.adapt_shape(options, shape) if variant.adapt_shape else shape
    subject = subject_over(Given(tokens_of(3, LENGTH)), backbone=variant.build(options, adapted))
    entry = CATALOGUE.measure(measure)
    rows = entry.run(entry.options(), subject)
    assert rows
    serves = OWNERS.get(measure, variant.name) == variant.name
    for row in rows:
        assert row.status == ("done" if serves else "unsupported"), row.detail
        assert (row.value is not None) == serves
        assert bool(row.detail) != serves
