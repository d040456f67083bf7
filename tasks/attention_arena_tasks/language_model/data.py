"""What both language models share: options that choose a text and how it is read, and the prepared streams."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, model_validator

from attention_arena.datasets import locate
from attention_arena.objectives import Adaptive
from attention_arena.task import Source, TaskError
from attention_arena.variant import Options
from attention_arena_tasks.language_model.corpus import library_corpus, path_corpus
from attention_arena_tasks.language_model.official import examine, stamps_of, texts_of
from attention_arena_tasks.language_model.releases import CUTOFFS, RELEASES, Release, Unit
from attention_arena_tasks.language_model.streams import prepare
from attention_arena_tasks.language_model.texts import SPLITS, Corpus
from attention_arena_tasks.language_model.tokenisers import Bytes, Characters, Tokeniser, Words
from attention_arena_tasks.language_model.vocabulary import Vocabulary

STANDARD_LIBRARY = "standard-library"
LARGE = 50_000
"""Tokens of a vocabulary above which it is cut into bands unless `cutoffs` say otherwise."""


class TextOptions(Options):
    """What text, how it is read, and how a large vocabulary is represented."""

    corpus: str = Field(
        STANDARD_LIBRARY,
        min_length=1,
        description=f"standard-library: Python's own sources, a stand-in; a published corpus: {', '.join(RELEASES)}; "
        "or the path of a text file, which is cut 90/5/5 by position, or of a folder, whose files are dealt out 90/5/5 "
        "(./ptb where a path has a corpus' name)",
    )
    path: Path | None = Field(
        None, description="folder, archive or file of a published corpus; by default where `arena data get` keeps it"
    )
    patterns: tuple[str, ...] = Field(("**/*",), min_length=1, description="glob patterns of a folder's files")
    unit: Unit | None = Field(
        None, description="what a token is; by default the corpus' convention, and bytes for your own text"
    )
    min_count: int | None = Field(
        None,
        ge=1,
        description="words or characters that the training split has less often become <unk>; by default 1, lm1b 3",
    )
    length: int = Field(256, ge=2, description="tokens in a segment; the model's length")
    train_bytes: int | None = Field(None, ge=2, description="use the first bytes of the training split only")
    validation_bytes: int | None = Field(None, ge=2, description="use the first bytes of the validation split only")
    test_bytes: int | None = Field(None, ge=2, description="use the first bytes of the test split only")
    tied: bool | None = Field(None, description="the head's weight is the embedding's; by default for words alone")
    cutoffs: tuple[int, ...] | None = Field(
        None,
        description="ranks at which adaptive embedding and softmax cut the vocabulary; [] is a full softmax; by "
        f"default 20000, 40000, 200000 (lm1b 60000, 100000, 640000) for more than {LARGE} words",
    )
    div_value: int = Field(4, ge=1, description="each band's vectors are narrower by this than the band's before")
    tied_projections: bool | None = Field(
        None, description="tied bands share their matrices but for the first band's; by default true, for lm1b false"
    )

    @model_validator(mode="after")
    def _fits_the_corpus(self) -> TextOptions:
        release = self.release
        if self.path is not None and release is None:
            raise ValueError(
                f"path is for published corpora ({', '.join(RELEASES)}); give your own text's path as `corpus`, "
                f"got corpus {self.corpus!r}"
            )
        if release is not None and self.unit is not None and self.unit not in release.units:
            raise ValueError(f"{release.name} is read by {' or '.join(release.units)}, got unit {self.unit!r}")
        cutoffs = (0, *(self.cutoffs or ()))
        if any(cutoff >= later for cutoff, later in itertools.pairwise(cutoffs)):
            raise ValueError(f"cutoffs must rise from 1 up, got {list(self.cutoffs or ())}")
        return self

    @property
    def release(self) -> Release | None:
        """The published corpus that is asked for, or None."""
        return RELEASES.get(self.corpus)

    @property
    def reads(self) -> Unit:
        """The unit that is read."""
        return self.unit or (self.release.units[0] if self.release else "byte")

    @property
    def caps(self) -> dict[str, int | None]:
        """Bytes to use of each split."""
        return {"train": self.train_bytes, "validation": self.validation_bytes, "test": self.test_bytes}


class Prepared(NamedTuple):
    """Streams on disk, where they came from, and the vocabulary of their ids."""

    ready: Path
    source: Source
    vocabulary: Vocabulary

    @property
    def baselines(self) -> dict[str, float]:
        """Scores of counts of tokens, on the test stream."""
        return json.loads((self.ready / "baselines.json").read_text())  # type: ignore[no-any-return]


def prepare_text(options: TextOptions, folder: Path) -> Prepared:
    """Return the streams that the options ask for, prepared under `folder` at first use; raises TaskError."""
    tokeniser = _tokeniser(options)
    release = options.release
    if release is None:
        corpus = (
            library_corpus()
            if options.corpus == STANDARD_LIBRARY
            else path_corpus(Path(options.corpus).expanduser(), options.patterns, tokeniser)
        )
        ready = prepare(corpus, tokeniser, options.caps, folder, lambda target: None)
        return Prepared(ready, corpus.source, Vocabulary.open(ready))
    path = locate(release.name, options.path, folder)
    corpus = Corpus(
        release.name,
        lambda: texts_of(release, path),
        stamps_of(release, path),
        Source("user", release.summary, release.licence),
        str(path),
    )

    def keep_findings(target: Path) -> None:
        found = examine(release, path)
        if not found.usable:
            raise TaskError("; ".join(found.problems))
        (target / "found.json").write_text(json.dumps([dict(found.counts), found.problems]))

    ready = prepare(corpus, tokeniser, options.caps, folder, keep_findings)
    counts, problems = json.loads((ready / "found.json").read_text())
    return Prepared(ready, _source(options, release, counts, problems), Vocabulary.open(ready))


def _source(options: TextOptions, release: Release, counts: dict[str, int], problems: list[str]) -> Source:
    """Return where the text came from; it is the official corpus only if all of it is there, right and used."""
    unit = "bytes" if release.counted == "bytes" else "tokens"
    described = f"{' + '.join(f'{counts[split]:,}' for split in SPLITS)} {unit}"
    capped = [f"{cap:,} bytes of {split}" for split, cap in options.caps.items() if cap is not None]
    if not problems and not capped:
        return Source("official", f"{release.name}, {described}", release.licence)
    if problems:
        expected = " + ".join(f"{release.counts[s]:,}" if s in release.counts else "any" for s in SPLITS)
        described = f"text in the layout of {release.name}, {described}, not the release's files ({expected})"
    else:
        described = f"{release.name}, {described}"
    return Source("user", ", first ".join([described, *capped]), release.licence)


def _tokeniser(options: TextOptions) -> Tokeniser:
    release = options.release
    min_count = options.min_count or (release.min_count if release else 1)
    if options.reads == "byte":
        return Bytes()
    if release is None:
        return Words(min_count) if options.reads == "word" else Characters(min_count)
    if options.reads == "word" or release.name == "ptb-char":
        return Words(min_count, release.blank_bytes, release.line_bytes, options.reads)
    return Characters(min_count)


def adaptive_for(options: TextOptions, vocab_size: int) -> Adaptive | None:
    """Return how a vocabulary is cut into bands: as asked, else by default if it is large; raises TaskError."""
    release = options.release
    cutoffs = options.cutoffs
    if cutoffs is None:
        known = release.cutoffs if release else CUTOFFS
        cutoffs = tuple(cutoff for cutoff in known if cutoff < vocab_size) if vocab_size > LARGE else ()
    if not cutoffs:
        return None
    if cutoffs[-1] >= vocab_size:
        raise TaskError(
            f"cutoffs must lie below the vocabulary's size ({vocab_size:,}), got {list(cutoffs)}; lower them, or leave "
            "them out"
        )
    tied = options.tied_projections
    return Adaptive(cutoffs, options.div_value, (release is None or release.tied_projections) if tied is None else tied)


def is_tied(options: TextOptions) -> bool:
    """Return whether head and embedding share weights."""
    return options.reads == "word" if options.tied is None else options.tied
