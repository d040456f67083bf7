"""Where runs are executed, and what names no such place."""

from types import SimpleNamespace

import pytest
import torch

from attention_arena.api import find_place
from attention_arena.errors import ConfigError
from attention_arena.runs import execution
from attention_arena.runs.execution import Execution


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cudas", "cuda:-1"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=r"device must be auto, cpu, cuda or cuda:N, got '" + device):
        find_place(device, 1)


@pytest.mark.parametrize(
    ("device", "n_devices", "complaint"),
    [
        ("cuda", 0, "torch sees no CUDA device; use --device cpu"),
        ("cuda:2", 2, "N must be below the 2 that torch sees"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, device: str, n_devices: int, complaint: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    with pytest.raises(ConfigError, match=f"device {device} was asked for, but {complaint}"):
        find_place(device, 1)


@pytest.mark.parametrize(("device", "n_devices"), [("cuda", 1), ("cuda:1", 2), ("cpu", 0)])
def test_a_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch, device: str, n_devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    assert find_place(device, 1).device == device


@pytest.mark.parametrize(("device", "made_current"), [("cuda:1", ["cuda:1"]), ("cuda", []), ("cpu", [])])
def test_a_numbered_device_is_made_the_current_one_before_a_model_is_moved_there(
    monkeypatch: pytest.MonkeyPatch, device: str, made_current: list[str]
) -> None:
    calls: list[str] = []
    model = SimpleNamespace(to=lambda where: calls.append(f"move to {where}"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda where: calls.append(str(where)))
    monkeypatch.setattr(execution, "build_model", lambda *_: model)
    run = Execution.__new__(Execution)
    run.device, run.spec, run.data = torch.device(device), SimpleNamespace(seed=0), None  # type: ignore[assignment]
    run._build(None, None, None, 8)  # type: ignore[arg-type]
    assert calls == [*made_current, f"move to {device}"]
