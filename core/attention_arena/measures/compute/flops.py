"""FLOPs of the matrix products of one pass, 2 for each multiply-add."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from attention_arena.flop_counter import count_flops
from attention_arena.measure import Measure, Measurement, Subject
from attention_arena.measures.apart import run_apart
from attention_arena.measures.compute.formula import flops_by_formula
from attention_arena.measures.passes import Lengths, Passes, is_out_of_memory
from attention_arena.variant import Options

__all__ = ["FLOPS", "FlopsOptions", "count_flops", "measure_flops"]


class Counts(NamedTuple):
    """FLOPs of one pass by the part of the model: embedding and backbone, and head and loss."""

    encoder: int
    head: int


def count_inference(subject: Subject, length: int) -> Counts:
    """Return the FLOPs of encoding and scoring one full sequence (or pair) of `length` tokens, without a graph."""
    with torch.no_grad():
        return _count(subject, length, training=False)


def count_training(subject: Subject, length: int) -> Counts:
    """Return the FLOPs of forward and backward on one full sequence (or pair) of `length` tokens."""
    return _count(subject, length, training=True)


def _count(subject: Subject, length: int, training: bool) -> Counts:
    """Count on the subject's device; where memory is short, on the meta device, which computes shapes alone.

    There a variant may choose another way of computing than on a real device, and one that must see numbers fails.
    """
    try:
        return _count_on(subject.device, subject, length, training)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        short = error.with_traceback(None)  # Which would hold the tensors that filled the memory.
    try:
        return _count_on(torch.device("meta"), subject, length, training)
    except (RuntimeError, TypeError, ValueError):
        raise short from None


def _count_on(device: torch.device, subject: Subject, length: int, training: bool) -> Counts:
    passes = Passes(subject, 1, length)
    batch, head = passes.batch.to(device), copy.deepcopy(passes.model.head)
    model = passes.model.to(device).train(training)
    encoded: list[Tensor] = []

    def encode() -> None:
        with passes.autocast():
            encoded.append(model(batch).hidden)
        if training:
            encoded[0].sum().backward()  # type: ignore[no-untyped-call]

    encoder = count_flops(encode)
    # The head's work can depend on the batch (which positions are scored), so it always sees numbers.
    hidden = torch.zeros(encoded[0].shape, dtype=encoded[0].dtype, device=subject.device, requires_grad=training)

    def score() -> None:
        with passes.autocast():
            loss = passes.objective.score(head, hidden, passes.batch).loss
        if training:
            loss.backward()  # type: ignore[no-untyped-call]

    return Counts(encoder, count_flops(score))


class FlopsOptions(Options):
    """Options of the FLOPs measure."""

    lengths: Lengths = Field(None, description="tokens in a sequence; null measures the task's own length")
    max_seconds: float | None = Field(
        120, gt=0, description="longest time for one length, beyond which its count is ended; null waits"
    )


def measure_flops(options: FlopsOptions, subject: Subject) -> Sequence[Measurement]:
    """Return FLOPs per token at each length: of inference, counted and by formula, and of a training step's passes.

    A token is one that the model encodes, both sequences of a pair counted; a batch is one full sequence without
    padding. Counted (`flops_per_token`) are the matrix products that really run, in training with what is computed
    again in backward. By formula (`flops_per_token_by_formula`) is what `formula.flops_by_formula` adds up, for
    variants that state their cost.
    """
    rows: list[Measurement] = []
    for length in options.lengths or [subject.length]:
        answer = run_apart(subject, flops_per_token, {"length": length}, options.max_seconds)
        names = [("flops_per_token", "inference"), ("flops_per_token", "training")]
        if subject.contender.variant.cost is not None:
            names.append(("flops_per_token_by_formula", "inference"))
        for name, phase in names:
            row = Measurement(name, phase, None, "FLOPs", length, batch_size=1, higher_is_better=False)
            if answer.status == "done":
                rows.append(row._replace(value=answer.value[name, phase]))
            else:
                rows.append(row.without(answer.status, answer.detail or answer.status))
    return rows


def flops_per_token(subject: Subject, length: int) -> dict[tuple[str, str], float]:
    """Return the values of one length's rows, by measure and phase."""
    inference, training = count_inference(subject, length), count_training(subject, length)
    n_tokens = subject.synthetic_batch(1, length).tokens.numel()
    values = {
        ("flops_per_token", "inference"): sum(inference) / n_tokens,
        ("flops_per_token", "training"): sum(training) / n_tokens,
    }
    layers = flops_by_formula(subject, length)
    if layers is not None:
        values["flops_per_token_by_formula", "inference"] = (layers + inference.head) / n_tokens
    return values


FLOPS = Measure(
    name="flops",
    summary="FLOPs per token of matrix products: counted, in inference and in training, and by the variant's formula",
    options=FlopsOptions,
    run=measure_flops,
)
