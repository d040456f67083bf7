"""What the language models' splits say of their text to the protocols of evaluation."""

from pathlib import Path

import pytest
import torch

from attention_arena.catalogue import load_catalogue
from attention_arena.evaluation import evaluate
from attention_arena.measures.perplexity import PERPLEXITY
from attention_arena.model import build_model
from attention_arena.splits import stream_of
from attention_arena.variant import ModelSettings
from attention_arena_tasks.language_model import masked, next_token
from attention_arena_tasks.language_model.releases import RELEASES
from tests.core.measures.perplexity.language_toys import reading

SMALL = {"length": 16, "train_bytes": 5000, "validation_bytes": 500, "test_bytes": 600}


def test_a_split_shows_the_text_that_it_is_read_from(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(bytes(range(200)) * 10)
    options = next_token.LanguageModelOptions(corpus=str(tmp_path / "text.txt"), length=16)
    stream = stream_of(next_token.load(options, tmp_path / "data").test)
    assert stream is not None
    assert bytes(stream.tokens.tolist()) == (bytes(range(200)) * 10)[1900:]
    assert stream.unrelated is None


def test_only_the_shuffled_corpus_is_no_connected_text() -> None:
    assert {name for name, release in RELEASES.items() if release.unrelated} == {"lm1b"}


def test_shuffled_sentences_say_so(tmp_path: Path) -> None:
    for name in ("news.en-00001-of-00100", "news.en.heldout-00000-of-00050", "news.en.heldout-00001-of-00050"):
        (tmp_path / name).write_text("a b c a b\nb c a\n" * 5)
    options = next_token.LanguageModelOptions(corpus="lm1b", path=tmp_path, length=4)
    stream = stream_of(next_token.load(options, tmp_path / "data").test)
    assert stream is not None
    assert stream.unrelated == "shuffled sentences"


@pytest.mark.parametrize("batch_size", [1, 4])
def test_chunks_of_hidden_tokens_equal_the_evaluation_that_training_reports(tmp_path: Path, batch_size: int) -> None:
    data = masked.load(masked.MaskedLanguageModelOptions(**SMALL), tmp_path)
    variant = load_catalogue(kinds=("variant",)).variant("softmax")
    torch.manual_seed(0)
    settings = ModelSettings(d_model=16, n_heads=2, n_layers=1, d_ff=16)
    model = build_model(variant, variant.options(), settings, data)
    subject = reading(model, data.test, SMALL["length"], batch_size, objective=data.objective)
    reported = evaluate(model, data.test, batch_size, subject.device, subject.autocast)
    rows = PERPLEXITY.run(PERPLEXITY.options(protocols=["chunks"], max_tokens=None), subject)
    found = {row.measure: row for row in rows}
    assert found["loss"].value == pytest.approx(reported.metrics["loss"], rel=1e-6)
    assert found["loss"].samples == reported.sums["tokens"] == data.test.n_examples
