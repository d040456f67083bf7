"""Checks of a task's data: its batches, their order, and how its objective scores them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from attention_arena.task import Batch, Split, TaskData
from attention_arena.testing.verdict import NotApplicable, require, require_close
from attention_arena.variant import ModelShape

AT_MOST = 40
"""Batches of a split that are looked at, where looking at some is enough."""


def splits(data: TaskData) -> dict[str, Split]:
    """Return the three splits by name."""
    return {"train": data.train, "validation": data.validation, "test": data.test}


def check_batches(data: TaskData, name: str) -> None:
    """Every tensor of a batch has its documented type and shape, and every token is in the vocabulary."""
    for part, split in splits(data).items():
        for batch in itertools.islice(split.batches(3), AT_MOST):
            _check_batch(batch, data, f"{name}, {part}")


def _check_batch(batch: Batch, data: TaskData, what: str) -> None:
    tokens, targets = batch.tokens, batch.targets
    is_pairs = tokens.dim() == 3 and tokens.shape[1] == 2
    require(tokens.dim() == 2 or is_pairs, f"{what}: tokens {tuple(tokens.shape)}, expected (B, T) or (B, 2, T)")
    B, T = tokens.shape[0], tokens.shape[-1]
    require(1 <= B <= 3, f"{what}: {B} rows in a batch of at most 3")
    require(1 <= T <= data.max_length, f"{what}: {T} tokens in a row, max_length is {data.max_length}")
    require(
        tuple(targets.shape) in ((B,), (B, T)),
        f"{what}: targets {tuple(targets.shape)}, expected {(B,)} or {(B, T)}",
    )
    for field, tensor in (("tokens", tokens), ("targets", targets)):
        require(tensor.dtype == torch.int64, f"{what}: {field} are {tensor.dtype}, expected torch.int64")
    low, high = int(tokens.min()), int(tokens.max())
    # Padding too is looked up in the embedding.
    require(low >= 0 and high < data.vocab_size, f"{what}: ids {low} to {high}, vocab_size is {data.vocab_size}")
    masks = {"valid": tokens.shape, "scored": targets.shape, "landmarks": tokens.shape, "resumes": (B,)}
    for field, shape in masks.items():
        mask: Tensor | None = getattr(batch, field)
        if mask is not None:
            require(mask.dtype == torch.bool, f"{what}: {field} is {mask.dtype}, expected torch.bool")
            require(mask.shape == shape, f"{what}: {field} {tuple(mask.shape)}, expected {tuple(shape)}")


def check_one_pass(data: TaskData, name: str) -> None:
    """A pass in order yields every example, or every predicted token, exactly once, at any batch size."""
    for part, split in splits(data).items():
        seen = {batch_size: Counter(_examples(split, batch_size)) for batch_size in (2, 5)}
        for batch_size, examples in seen.items():
            total = sum(data.objective.weight(batch) for batch in split.batches(batch_size))
            what = f"{name}, {part}, batches of {batch_size}"
            require(total == split.n_examples, f"{what}: {total:g} targets count, n_examples is {split.n_examples}")
            n_found = examples.total()
            require(n_found == split.n_examples, f"{what}: {n_found} examples, n_examples is {split.n_examples}")
        differing = (seen[2] - seen[5]).total()
        require(differing == 0, f"{name}, {part}: {differing} examples differ between batches of 2 and of 5")


def _examples(split: Split, batch_size: int) -> Iterator[Hashable]:
    """Yield what each scored target is predicted from: its row, or its own token where every token has a target."""
    for batch in split.batches(batch_size):
        scored = torch.ones_like(batch.targets, dtype=torch.bool) if batch.scored is None else batch.scored
        if batch.targets.shape == batch.tokens.shape:
            yield from zip(batch.tokens[scored].tolist(), batch.targets[scored].tolist(), strict=True)
            continue
        valid = torch.ones_like(batch.tokens, dtype=torch.bool) if batch.valid is None else batch.valid
        rows = zip(batch.tokens, valid, batch.targets, scored, strict=True)
        for tokens, real, target, counts in rows:
            if counts:
                yield tuple(tokens[real].tolist()), int(target)


def check_order(data: TaskData, name: str) -> None:
    """A seed fixes the order, another seed gives another, and a shuffled pass has full batches only."""
    size = 2
    first, again, other = (list(data.train.batches(size, order_seed=seed)) for seed in (0, 0, 1))
    require(bool(first), f"{name}: a shuffled pass over train is empty")
    require(_same(first, again), f"{name}: two passes with order_seed 0 differ")
    require(not _same(first, other), f"{name}: order_seed 0 and 1 give the same pass")
    straight = (list(data.train.batches(size)) for _ in range(2))
    require(_same(*straight), f"{name}: two passes in order differ")
    short = sum(len(batch.tokens) != size for batch in first)
    too_small = data.train.n_examples < size * data.max_length
    require(short == 0 or too_small, f"{name}: {short} of {len(first)} shuffled batches are not full")


def _same(first: list[Batch], second: list[Batch]) -> bool:
    def equal(one: Tensor | None, other: Tensor | None) -> bool:
        if one is None or other is None:
            return one is other
        return torch.equal(one, other)

    return len(first) == len(second) and all(
        equal(one, other) for batches in zip(first, second, strict=True) for one, other in zip(*batches, strict=True)
    )


def check_score(data: TaskData, name: str) -> None:
    """Sums add up over rows, the mean loss is that of the sums, and every metric is summarised."""
    torch.manual_seed(0)
    objective = data.objective
    shape = ModelShape(d_model=8, n_heads=2, d_ff=8, max_length=data.max_length, causal=objective.causal)
    embedding = objective.build_embedding(shape, data.vocab_size)
    head = objective.build_head(shape, embedding).double().eval()
    batch = next(iter(data.validation.batches(3)))
    hidden = torch.randn(*batch.tokens.shape, shape.d_model, dtype=torch.float64, requires_grad=True)
    whole = objective.score(head, hidden, batch)
    require(whole.loss.dim() == 0 and whole.loss.requires_grad, f"{name}: the loss must be 0-dim, with a gradient")
    weight, mean = objective.weight(batch), torch.zeros((), dtype=torch.float64)
    totals = dict.fromkeys(whole.sums, 0.0)
    for row in range(len(batch.tokens)):
        part = batch.rows(row, row + 1)
        score = objective.score(head, hidden[row : row + 1], part)
        mean = mean + score.loss.detach() * objective.weight(part) / weight
        for key, value in score.sums.items():
            require(value.dtype == torch.float64, f"{name}: the sum {key} is {value.dtype}, expected torch.float64")
            totals[key] += float(value)
    require_close(mean, whole.loss, f"{name}: the loss of a batch against its rows', weighted", 1e-6)
    for key, value in whole.sums.items():
        require_close(torch.tensor(totals[key]), value, f"{name}: the sum {key} over rows against the batch's", 1e-6)
    for key, values in whole.examples.items():
        require(len(values) == len(batch.tokens), f"{name}: examples[{key!r}] has {len(values)} rows")
    metrics = objective.summarise({key: float(value) for key, value in whole.sums.items()})
    names = {metric.name for metric in objective.metrics}
    require(set(metrics) == names, f"{name}: summarise gives {sorted(metrics)}, its metrics are {sorted(names)}")
    if "loss" in metrics:
        require_close(torch.tensor(metrics["loss"]), whole.loss, f"{name}: the loss of the sums against the mean", 1e-6)


def check_stream(data: TaskData, name: str) -> None:
    """A row that resumes continues the same row of the batch before, and inside a row each token predicts the next."""
    n_resumed = 0
    for part, split in splits(data).items():
        for order_seed in (None, 3):
            n_resumed += _check_pass(split, order_seed, f"{name}, {part}, order_seed {order_seed}")
    if not n_resumed:
        raise NotApplicable(f"{name} has no rows that resume")


def _check_pass(split: Split, order_seed: int | None, what: str) -> int:
    before: Batch | None = None
    n_resumed = 0
    for index, batch in enumerate(itertools.islice(split.batches(3, order_seed), AT_MOST)):
        resumes = [False] * len(batch.tokens) if batch.resumes is None else batch.resumes.tolist()
        n_resumed += sum(resumes)
        for row in (row for row, resumed in enumerate(resumes) if resumed):
            where = f"{what}: row {row} of batch {index}"
            if before is None:
                require(False, f"{where} resumes, but nothing came before")
                continue
            last, first = int(before.targets[row, -1]), int(batch.tokens[row, 0])
            # A row whose last target was not scored had ended, and what it goes on with counts for nothing.
            ended = before.scored is not None and not before.scored[row, -1]
            require(ended or last == first, f"{where} begins with token {first}, the row before it ended before {last}")
        if any(resumes):
            _check_inside(batch, f"{what}, batch {index}")
        before = batch
    return n_resumed


def _check_inside(batch: Batch, what: str) -> None:
    continued = batch.targets[:, :-1] == batch.tokens[:, 1:]
    if batch.scored is not None:
        continued |= ~batch.scored[:, :-1]
    n_broken = int((~continued).sum())
    require(n_broken == 0, f"{what}: {n_broken} targets are not the next token")
