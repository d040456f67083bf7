"""Every registered variant that can be causal is read by every protocol, and scores the same tokens."""

from dataclasses import replace

import pytest
import torch

from attention_arena.catalogue import load_catalogue
from attention_arena.measures.perplexity import EFFECTIVE_CONTEXT, LOSS_BY_POSITION, PERPLEXITY
from attention_arena.model import build_model
from attention_arena.objectives import LanguageModeling
from attention_arena.splits import StreamSplit
from attention_arena.task import Source, TaskData
from attention_arena.variant import Capability, ModelSettings
from tests.core.measures.perplexity.language_toys import SYMBOLS, noise, reading

LENGTH = 12
VARIANTS = load_catalogue(kinds=("variant",)).variants
CAUSAL = sorted(name for name, variant in VARIANTS.items() if Capability.CAUSAL in variant.supports)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_variant_is_read_by_every_protocol(name: str) -> None:
    variant, objective = VARIANTS[name], LanguageModeling(SYMBOLS)
    split = StreamSplit(noise(150), LENGTH)
    data = TaskData(SYMBOLS, LENGTH, objective, split, split, split, Source("generated", "none"))
    settings = ModelSettings(d_model=16, n_heads=2, n_layers=1, d_ff=16)
    torch.manual_seed(0)
    model = build_model(variant, variant.options(**variant.check_options[0]), settings, data)
    subject = reading(model, split, LENGTH)
    subject = replace(subject, contender=replace(subject.contender, variant=variant))
    rows = list(PERPLEXITY.run(PERPLEXITY.options(stride=[1, 5]), subject))
    rows += LOSS_BY_POSITION.run(LOSS_BY_POSITION.options(), subject)
    rows += EFFECTIVE_CONTEXT.run(EFFECTIVE_CONTEXT.options(max_tokens=20), subject)
    unserved = {row.phase: row.status for row in rows if row.status != "done"}
    carries = Capability.SEGMENT_STATE in variant.supports
    assert unserved == ({} if carries else {"cached": "unsupported"})
    scored = {row.phase: row.samples for row in rows if row.measure == "loss"}
    assert set(scored.values()) == {149}
    assert set(scored) == {"chunks", "sliding, stride 1", "sliding, stride 5", *(["cached"] if carries else [])}
