"""What tasks have in common that read pictures pixel by pixel: prepared splits, and what is known of them beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from attention_arena.objectives import Classification
from attention_arena.splits import ExampleSplit
from attention_arena.task import Source, TaskData

SPLITS = ("train", "validation", "test")
N_GREYS = 256
KNOWN = "known.json"


def save_known(target: Path, source: Source, baselines: Mapping[str, float]) -> None:
    """Write where the pictures came from and what needs no model, beside their splits."""
    known = {
        "source": {"kind": source.kind, "description": source.description, "licence": source.licence},
        "baselines": dict(baselines),
    }
    (target / KNOWN).write_text(json.dumps(known, indent=1))


def open_pictures(ready: Path, length: int, objective: Classification) -> TaskData:
    """Return prepared pictures of `length` pixels each; none is padded, and grey 0 is a pixel like others."""
    known = json.loads((ready / KNOWN).read_text())
    train, validation, test = (ExampleSplit.open(ready, name) for name in SPLITS)
    return TaskData(
        vocab_size=N_GREYS,
        max_length=length,
        objective=objective,
        train=train,
        validation=validation,
        test=test,
        source=Source(**known["source"]),
        trivial_baselines=known["baselines"],
    )


def counted(sizes: Mapping[str, int]) -> str:
    """Return `160,000 + 20,000 + 20,000 images`."""
    return " + ".join(f"{sizes[name]:,}" for name in SPLITS) + " images"
