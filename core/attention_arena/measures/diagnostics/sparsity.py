"""How many keys hold most of a query's attention: the sparsity that attention learns, and that some variants impose.

Child et al. (2019, section 3) saw it in trained models by eye: most heads attend to few places. Beside the trained
model stands the same one before training, whose share says what shape alone brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import Field
from torch import Tensor

from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.diagnostics.attended import Attended, SequencesOptions, served, trained_and_untrained
from attention_arena.measures.diagnostics.by_head import rows_by_head
from attention_arena.measures.diagnostics.concentration import allowed_keys, keys_for


class SparsityOptions(SequencesOptions):
    """Options of the measure."""

    mass: float = Field(0.9, gt=0.0, lt=1.0, description="share of a query's attention that the keys must hold")


def share_of_keys(sequence: Attended, mass: float, causal: bool) -> Tensor:
    """Return the percentage of the keys a query may see that hold `mass` of its attention, (L, H), mean over queries.

    Queries that attend to nothing are left out; a head of which all do has 0.
    """
    T, S = sequence.mass.shape[-2:]
    allowed = allowed_keys(T, S, causal, sequence.mass.device)
    share = 100.0 * keys_for(sequence.mass, mass).double() / allowed
    attends = (sequence.mass.sum(-1) > 0).sum(-1)
    return share.sum(-1) / attends.clamp(min=1)


def measure_sparsity(options: SparsityOptions, subject: Subject) -> Sequence[Measurement]:
    """Return the share of keys of the whole model and of each head, trained and untrained."""
    blank = Measurement("attention_sparsity", "trained", None, "%", higher_is_better=None, samples=0)
    causal = subject.data.objective.causal

    def rows() -> Iterator[Measurement]:
        for phase, sequences in trained_and_untrained(options, subject):
            shares = [share_of_keys(each, options.mass, causal) for each in sequences]
            yield from rows_by_head(blank._replace(phase=phase), shares, most=100.0)

    return served([blank], lambda: list(rows()))


SPARSITY = Measure(
    name="attention_sparsity",
    summary="share of keys that hold 90 % of a query's attention, by layer and head, trained and untrained",
    options=SparsityOptions,
    run=measure_sparsity,
    needs_training=True,
)
