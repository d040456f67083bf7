"""From texts to three streams of ids on disk, with their vocabulary and what counts alone would score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_arena.prepared import key_of, prepared, progress
from attention_arena.splits import StreamSplit, content_hash
from attention_arena.task import TaskError
from attention_arena_tasks.language_model.baselines import trivial_baselines
from attention_arena_tasks.language_model.texts import SPLITS, Caps, Corpus, Text
from attention_arena_tasks.language_model.tokenisers import Bytes, Ids, Tokeniser

FORMAT = 2
"""Of the prepared files; another number makes them anew."""
FOLDER = "language_model"

Sizes = dict[str, dict[str, int]]
"""Split -> place -> bytes."""


class Share(NamedTuple):
    """What of a text is used: what stands before it, and how many bytes of both together."""

    before: bytes
    n_bytes: int


def prepare(corpus: Corpus, tokeniser: Tokeniser, caps: Caps, folder: Path, extra: Callable[[Path], None]) -> Path:
    """Return the folder with streams, vocabulary and baselines, made at first use; `extra` writes what else is kept."""
    key = key_of(corpus.key, FORMAT, corpus.key, corpus.seen, tokeniser.settings, dict(caps))

    def make(target: Path) -> None:
        extra(target)
        gap = corpus.separator if tokeniser.separates else b""
        shares = _shares(_survey(corpus, tokeniser, gap), caps, gap)
        streams = _encode(corpus, tokeniser, shares, target)
        _save(streams, tokeniser, target)

    return prepared(folder / FOLDER, key, make)


def _survey(corpus: Corpus, tokeniser: Tokeniser, gap: bytes) -> Sizes:
    """Count tokens, those of the `gap` between texts too, make the vocabulary, and return how long each text is."""
    sizes: Sizes = {split: {} for split in SPLITS}
    with progress(0, f"{corpus.key}: counting", "B") as done:
        for text in corpus.read():
            before = gap if any(sizes[text.split].values()) else b""
            tokeniser.survey(text._replace(content=before + text.content, start=text.start - len(before)))
            sizes[text.split][text.place] = len(text.content)
            done.update(len(text.content))
    tokeniser.finish()
    return sizes


def _shares(sizes: Sizes, caps: Caps, gap: bytes) -> dict[str, dict[str, Share]]:
    """Return what of each text fits under its split's cap; `gap` stands between texts."""
    shares: dict[str, dict[str, Share]] = {split: {} for split in sizes}
    for split, places in sizes.items():
        cap, used = caps[split], 0
        for place in sorted(places):
            before = gap if used else b""
            size = len(before) + places[place]
            shares[split][place] = Share(before, size if cap is None else max(0, min(size, cap - used)))
            used += size
    return shares


def _encode(corpus: Corpus, tokeniser: Tokeniser, shares: dict[str, dict[str, Share]], target: Path) -> dict[str, Ids]:
    """Return each split's ids; texts are written to scratch files as they come, and put in order from there."""
    scratch = {split: target / f"{split}.scratch" for split in SPLITS}
    lengths: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    n_bytes = sum(share.n_bytes for places in shares.values() for share in places.values())
    with progress(n_bytes, f"{corpus.key}: encoding", "B") as done:
        for text in corpus.read():
            share = shares[text.split][text.place]
            ids = tokeniser.encode(_fitted(text, share, tokeniser))
            with scratch[text.split].open("ab") as file:
                ids.astype(tokeniser.dtype, copy=False).tofile(file)
            lengths[text.split][text.place] = len(ids)
            done.update(share.n_bytes)
    streams = {}
    for split, found in lengths.items():
        n_tokens = sum(found.values())
        if n_tokens < 2:
            raise TaskError(
                f"the {split} split has {n_tokens} {tokeniser.unit}s, but needs 2 or more, from {corpus.where}"
            )
        streams[split] = _in_order(np.fromfile(scratch[split], dtype=tokeniser.dtype), found)
        scratch[split].unlink()
    return streams


def _in_order(written: Ids, lengths: dict[str, int]) -> Ids:
    """Return `written`, where texts of these lengths follow each other, with the texts in the order of their places."""
    if list(lengths) == sorted(lengths):
        return written
    stops = np.cumsum(list(lengths.values())).tolist()
    parts = {place: written[stop - n : stop] for (place, n), stop in zip(lengths.items(), stops, strict=True)}
    return np.concatenate([parts[place] for place in sorted(parts)])


def _fitted(text: Text, share: Share, tokeniser: Tokeniser) -> Text:
    """Return the text's share, cut to whole tokens, behind its separator."""
    content = share.before + text.content
    if share.n_bytes < len(content):
        content = content[: tokeniser.whole(content[: share.n_bytes])]
    return text._replace(content=content, start=text.start - len(share.before))


def _save(streams: dict[str, Ids], tokeniser: Tokeniser, target: Path) -> None:
    vocabulary = tokeniser.vocabulary
    for split, ids in streams.items():
        known = None
        if not isinstance(tokeniser, Bytes):
            both = f"{content_hash(ids)}\n{vocabulary.content_hash}"
            known = hashlib.sha256(both.encode()).hexdigest()
        StreamSplit(ids, length=1, known_hash=known).save(target, split)
    vocabulary.save(target)
    baselines = trivial_baselines(streams["train"], streams["test"], len(vocabulary), tokeniser.unit)
    (target / "baselines.json").write_text(json.dumps(baselines, indent=1))
