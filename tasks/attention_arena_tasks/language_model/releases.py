"""The corpora of the papers as they are published: files, splits, units, and what a complete release holds.

Counts are those of the publications, in tokens with one `<eos>` for each line, or in bytes. Where checksums of the
content are published, they decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from attention_arena.datasets import RemoteFile

Unit = Literal["byte", "character", "word"]

CUTOFFS = (20_000, 40_000, 200_000)
"""Transformer-XL's for WikiText-103; for other large vocabularies, those of them that lie below its size."""

_WIKITEXT = "https://wikitext.smerity.com"
_WIKITEXT_LICENCE = "CC BY-SA 3.0 and GFDL"
_LARGE_TEXT = "http://mattmahoney.net/dc"


@dataclass(frozen=True)
class Release:
    """A published corpus."""

    name: str
    summary: str
    homepage: str
    licence: str
    files: tuple[RemoteFile, ...]
    units: tuple[Unit, ...]
    """What it can be read as; the first is its convention, and decides the metric that is compared."""
    patterns: Mapping[str, str]
    """Split -> pattern of its files' names, or "whole" -> pattern of the one file that is cut 90/5/5 by position."""
    counts: Mapping[str, int]
    """Tokens of each split of the whole release, or bytes where words are not its unit."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """`md5:...` or `sha256:...` of each file's content, by the keys of `patterns`."""
    counted: Literal["bytes", "words"] = "words"
    many: bool = False
    """Whether a split is many files."""
    unrelated: str | None = None
    """What it is made of where its parts say nothing of each other; None where text runs on."""
    blank_bytes: int = 1
    line_bytes: int = 2
    min_count: int = 1
    cutoffs: tuple[int, ...] = CUTOFFS
    tied_projections: bool = True

    def part_of(self, name: str) -> str | None:
        """Return the split that the file belongs to (or "whole"), or None if it is not the release's."""
        base = PurePosixPath(name).name
        return next((part for part, pattern in self.patterns.items() if re.fullmatch(pattern, base)), None)

    @property
    def layout(self) -> str:
        """What its files are called, in words."""
        return ", ".join(self.patterns.values()).replace("\\", "")


def _three(start: str, end: str) -> dict[str, str]:
    return {"train": f"{start}train{end}", "validation": f"{start}valid{end}", "test": f"{start}test{end}"}


def _large_text(name: str, summary: str, units: tuple[Unit, ...], size: int, md5: str) -> Release:
    return Release(
        name,
        summary,
        f"{_LARGE_TEXT}/textdata.html",
        "CC BY-SA and GFDL (Wikipedia text)",
        (RemoteFile(f"{name}.zip", (f"{_LARGE_TEXT}/{name}.zip",), size=size),),
        units,
        {"whole": name},
        {"train": 90_000_000, "validation": 5_000_000, "test": 5_000_000},
        {"whole": f"md5:{md5}"},
        counted="bytes",
    )


_WIKITEXT_2 = {"train": 2_088_628, "validation": 217_646, "test": 245_569}
_WIKITEXT_103 = {**_WIKITEXT_2, "train": 103_227_021}


def _wikitext(name: str, raw: bool, counts: Mapping[str, int], checksum: str | None, **settings: object) -> Release:
    kind = "text as it was" if raw else "words, rare ones as <unk>"
    units: tuple[Unit, ...] = ("byte", "character") if raw else ("word", "byte", "character")
    file = f"{name}-v1.zip"
    return Release(
        name,
        f"Good and featured Wikipedia articles, {kind}",
        f"{_WIKITEXT}/",
        _WIKITEXT_LICENCE,
        (RemoteFile(file, (f"{_WIKITEXT}/{file}",), checksum),),
        units,
        _three(r"wiki\.", r"\.raw" if raw else r"\.tokens"),
        counts,
        **settings,  # type: ignore[arg-type]
    )


_TREEBANK = RemoteFile("simple-examples.tgz", ("http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",))
_TREEBANK_HOME = "http://www.fit.vutbr.cz/~imikolov/rnnlm/"
_TREEBANK_LICENCE = "research purposes; the treebank is the LDC's property"
_BILLION = "1-billion-word-language-modeling-benchmark-r13output.tar.gz"
_SHARD = r"news\.en\.heldout-0000{}-of-00050"

_ALL = (
    _large_text(
        "enwik8",
        "The first 100,000,000 bytes of an XML dump of the English Wikipedia of 2006",
        ("byte",),
        36_445_475,
        "a1fa5ffddb56f4953e226637dabbb36a",
    ),
    _large_text(
        "text8",
        "100,000,000 characters of English Wikipedia text, a to z and blanks",
        ("character", "byte"),
        31_344_016,
        "3bea1919949baf155f99411df5fada7e",
    ),
    _wikitext(
        "wikitext-2",
        False,
        _WIKITEXT_2,
        "md5:542ccefacc6c27f945fb54453812b3cd",
        checksums={
            "train": "sha256:9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            "validation": "sha256:f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            "test": "sha256:d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        },
    ),
    _wikitext("wikitext-103", False, _WIKITEXT_103, "md5:9ddaacaf6af0710eda8c456decff7832"),
    _wikitext("wikitext-2-raw", True, _WIKITEXT_2, None),
    _wikitext("wikitext-103-raw", True, _WIKITEXT_103, None),
    Release(
        "ptb",
        "Penn Treebank, Wall Street Journal, as Mikolov prepared it: 10,000 words in lower case",
        _TREEBANK_HOME,
        _TREEBANK_LICENCE,
        (_TREEBANK,),
        ("word", "byte", "character"),
        _three(r"ptb\.", r"\.txt"),
        {"train": 929_589, "validation": 73_760, "test": 82_430},
        {
            "train": "md5:f26c4b92c5fdc7b3f8c7cdcb991d8420",
            "validation": "md5:aa0affc06ff7c36e977d7cd49e3839bf",
            "test": "md5:8b80168b89c18661a38ef683c0dc3721",
        },
    ),
    Release(
        "ptb-char",
        "The same text of the Penn Treebank as characters, 50 with the line's end",
        _TREEBANK_HOME,
        _TREEBANK_LICENCE,
        (_TREEBANK,),
        ("character",),
        _three(r"ptb\.char\.", r"\.txt"),
        {"train": 5_017_482, "validation": 393_042, "test": 442_423},
        {
            "train": "sha256:e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
            "validation": "sha256:21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
            "test": "sha256:1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
        },
        blank_bytes=0,
        line_bytes=1,
    ),
    Release(
        "lm1b",
        "One Billion Word benchmark: sentences of news, shuffled",
        "https://www.statmt.org/lm-benchmark/",
        "Apache-2.0 (scripts); WMT11 news text, for research",
        (RemoteFile(_BILLION, (f"http://www.statmt.org/lm-benchmark/{_BILLION}",)),),
        ("word",),
        {
            "train": r"news\.en-\d{5}-of-00100|.*\.train\.tokens",
            "validation": _SHARD.format(1) + r"|.*\.(?:dev|valid)\.tokens",
            "test": _SHARD.format(0) + r"|.*\.test\.tokens",
        },
        # Words and sentences of the 99 training shards; words and sentences of the first held-out one.
        {"train": 768_648_884 + 30_301_028, "test": 159_658},
        many=True,
        unrelated="shuffled sentences",
        line_bytes=0,
        min_count=3,
        cutoffs=(60_000, 100_000, 640_000),
        tied_projections=False,
    ),
)

RELEASES: Mapping[str, Release] = {release.name: release for release in _ALL}
