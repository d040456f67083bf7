"""Half precision: what autocast and the gradient scaler are told, on a CPU and on a GPU."""

from __future__ import annotations

import pytest
import torch

from attention_arena.model import build_model
from attention_arena.objectives.language_modeling import LanguageModeling
from attention_arena.splits import StreamSplit
from attention_arena.study.schema import TrainingSettings
from attention_arena.task import Source, TaskData
from attention_arena.training import autocast_for, train
from attention_arena.training.precision import scaler_for
from attention_arena.variant import ModelSettings
from attention_arena_variants.softmax import SOFTMAX


@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_autocast_is_that_of_the_device_and_precision(device: str, precision: str, dtype: torch.dtype) -> None:
    context = autocast_for(precision, torch.device(device))()
    assert (context.device, context.fast_dtype) == (device, dtype)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("precision", "scales"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_gradients_are_scaled_in_float16_alone(precision: str, scales: bool) -> None:
    assert scaler_for(precision, torch.device("cpu")).is_enabled() == scales


def test_gradients_are_clipped_at_their_true_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scaler's factor of 65,536 is taken out before, and micro-batches are summed before that."""
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def noted(*arguments: object) -> torch.Tensor:
        norms.append(float(clip(*arguments)))  # type: ignore[arg-type]
        return torch.tensor(norms[-1])

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
    part = StreamSplit(torch.arange(400).remainder(5).numpy().astype("uint8"), 8)
    data = TaskData(5, 8, LanguageModeling(5), part, part, part, Source("generated", "counting"))
    for precision, micro in (("fp32", None), ("fp16", None), ("fp16", 2)):
        torch.manual_seed(0)
        model = build_model(SOFTMAX, SOFTMAX.options(), ModelSettings(d_model=16, n_heads=2, n_layers=1), data)
        settings = TrainingSettings(steps=1, batch_size=8, precision=precision, clip_norm=1.0, micro_batch_size=micro)
        train(model, data, settings, 0, torch.device("cpu"))
    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=0.02)
