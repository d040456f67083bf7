"""What the cost measures run: inference, a training loss and a training step, on one fresh model and one full batch."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor

from attention_arena.measure import CellStatus, Measurement, Subject
from attention_arena.measures.timing.stopwatch import OverTimeError
from attention_arena.model import SequenceModel

T = TypeVar("T")

Lengths = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] | None
"""Tokens in a sequence, cell by cell; None is the task's own length."""


SIGNS_OF_OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)
"""Parts of messages: of PyTorch on a CPU, of CUDA outside PyTorch's own allocator, and of CUDA's libraries."""


class UnsupportedError(Exception):
    """The message says why the task or the variant cannot be measured so."""


class DoesNotFitError(ValueError):
    """A variant with its options cannot be built for a length."""


def built(subject: Subject, length: int) -> SequenceModel:
    """Return a fresh model for sequences of `length`; DoesNotFitError when the variant's options do not fit that."""
    try:
        return cast(SequenceModel, subject.build(length))
    except ValueError as error:
        raise DoesNotFitError(str(error)) from error


class Passes:
    """One model and one synthetic batch of `batch_size` sequences (pairs count once) of `length` tokens.

    `wrap` turns the model into what is called in its place, such as `torch.compile`. Raises DoesNotFitError.
    """

    def __init__(
        self,
        subject: Subject,
        batch_size: int,
        length: int,
        wrap: Callable[[SequenceModel], Callable[..., Any]] = lambda model: model,
    ) -> None:
        self.model = built(subject, length)
        self.encode = wrap(self.model)
        self.batch = subject.synthetic_batch(batch_size, length)
        self.objective = subject.data.objective
        self.autocast = subject.autocast
        self.learning_rate = subject.learning_rate
        self.optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def of(cls, subject: Subject, row: Measurement) -> Passes:
        """Return what fills a row that states its length and batch size."""
        assert row.batch_size is not None
        assert row.length is not None
        return cls(subject, row.batch_size, row.length)

    @property
    def n_tokens(self) -> int:
        """Tokens that the model encodes in one pass, both sequences of a pair counted."""
        return self.batch.tokens.numel()

    def inference(self) -> None:
        """Encode and score the batch in evaluation mode, without a graph."""
        self.model.eval()
        with torch.no_grad():
            self._score()

    def loss(self) -> Tensor:
        """Return the training loss (0-dim) with its graph."""
        self.model.train()
        return self._score()

    def backward(self) -> None:
        """Run forward and backward."""
        self.model.zero_grad(set_to_none=True)
        self.loss().backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Take one whole training step: forward, backward and AdamW."""
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.learning_rate, fused=True)
        self.backward()
        self.optimizer.step()

    def _score(self) -> Tensor:
        with self.autocast():
            output = self.encode(self.batch)
            return self.objective.score(self.model.head, output.hidden, self.batch).loss


def batch_size_for(subject: Subject, tokens_per_step: int, length: int) -> int:
    """Return how many sequences (or pairs) of `length` make up about `tokens_per_step` tokens, at least one."""
    n_sequences = 2 if subject.synthetic_batch(1, length).tokens.dim() == 3 else 1
    return max(1, tokens_per_step // (n_sequences * length))


class Reason(NamedTuple):
    """Why a cell has no value: its status and, in words, the detail."""

    status: CellStatus
    detail: str


def rows_or_reason(blank: Sequence[Measurement], fill: Callable[[], Sequence[Measurement]]) -> Sequence[Measurement]:
    """Return the rows that `fill` measures, or the `blank` ones with the reason why there are no numbers.

    Out of memory, options that do not fit the length and operations that the device lacks are reasons.
    """
    found = value_or_reason(fill)
    return [row.without(*found) for row in blank] if isinstance(found, Reason) else found


def value_or_reason(fill: Callable[[], T]) -> T | Reason:
    """Return what `fill` returns, or the reason why it raised; what a failed attempt held is free again.

    The traceback of a failure goes to the log.
    """
    try:
        return fill()
    # Whatever a plugin raises costs this cell alone.
    except Exception as error:
        reason = reason_for(error)
        if reason.status == "failed":
            traceback.print_exc()
    # Only here, where the traceback no longer holds the tensors of the failed cell.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return reason


def reason_for(error: BaseException) -> Reason:
    """Return what an exception means for a cell: the first line of its message, and the status that fits."""
    name, message = type(error).__name__, str(error).strip().partition("\n")[0]
    detail = f"{name}: {message}" if message else name
    if is_out_of_memory(error):
        asked = re.search(r"tried to allocate (\d+) bytes", message)
        return Reason("oom", f"{name}: could not allocate {int(asked[1]) / 2**30:.2f} GiB" if asked else detail)
    if isinstance(error, OverTimeError):
        return Reason("timeout", str(error))
    if isinstance(error, UnsupportedError | DoesNotFitError):
        return Reason("unsupported", str(error))
    if isinstance(error, NotImplementedError) or "not implemented for" in str(error):
        return Reason("unsupported", detail)
    return Reason("failed", detail)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS_OF_OUT_OF_MEMORY)
