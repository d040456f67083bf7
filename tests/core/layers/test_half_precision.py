"""Which processors multiply half precision fast, which products are computed in float32 instead, and in what pieces."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch

from attention_arena.layers import half_precision, kept_of, lower, sections, slow_half
from attention_arena.layers.half_precision import has_fast_products

CPU = torch.device("cpu")


@pytest.fixture
def ask_again() -> Iterator[None]:
    half_precision._multiplied_fast.cache_clear()
    yield
    half_precision._multiplied_fast.cache_clear()


@pytest.mark.usefixtures("ask_again")
@pytest.mark.parametrize(
    ("units", "bfloat16", "float16"),
    [
        ({"amx_bf16": False, "avx512_bf16": True}, False, False),
        ({"amx_bf16": True, "amx_tile": True}, True, False),
        ({"amx_bf16": False, "avx512_fp16": True}, False, True),
        ({"amx_bf16": True, "amx_fp16": True}, True, True),
        ({}, False, False),
    ],
    ids=["AVX512 bf16", "AMX", "AVX512 fp16", "AMX for both", "older"],
)
def test_on_x86_it_takes_units_for_the_type(
    units: dict[str, bool], bfloat16: bool, float16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert has_fast_products(torch.bfloat16, CPU) is bfloat16
    assert has_fast_products(torch.float16, torch.device("meta")) is float16


@pytest.mark.usefixtures("ask_again")
@pytest.mark.parametrize("has_tiles", [True, False])
def test_a_pytorch_that_lists_no_capabilities_is_asked_for_amx(
    has_tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles, raising=False)
    assert has_fast_products(torch.bfloat16, CPU) is has_tiles
    assert not has_fast_products(torch.float16, CPU)


def test_other_processors_and_devices_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_fast_products(torch.bfloat16, torch.device("cuda"))
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert has_fast_products(torch.bfloat16, CPU)


def test_half_precision_is_by_type_or_by_autocast_as_pytorch_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: False)
    single, double, half = torch.ones(1), torch.ones(1).double(), torch.ones(1).half()
    assert slow_half(single) is slow_half(double) is slow_half(single, half) is None
    assert slow_half(half, half) == torch.float16
    with torch.autocast("cpu", torch.bfloat16):
        assert slow_half(single, half) == torch.bfloat16
        assert slow_half(single, double) is slow_half(double) is None
        assert slow_half(single.to("meta")) is None
        assert lower(half).dtype == lower(single).dtype == torch.bfloat16
        assert lower(double) is double


def test_fast_products_stay_with_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: dtype == torch.bfloat16)
    assert slow_half(torch.ones(1).bfloat16()) is None
    assert slow_half(torch.ones(1).half()) == torch.float16


@pytest.mark.parametrize("is_fast", [True, False])
def test_something_is_kept_where_it_is_multiplied_or_needed_again(
    is_fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_precision, "has_fast_products", lambda dtype, device: is_fast)
    x = torch.ones(1)
    assert kept_of(x) is x
    with torch.autocast("cpu", torch.bfloat16):
        kept = kept_of(x)
        assert kept is not None
        assert kept.dtype == torch.bfloat16
        with torch.no_grad():
            assert (kept_of(x) is None) is not is_fast


@pytest.mark.parametrize(("n_rows", "width"), [(1, 1), (7, 3), (100, 64), (5, 1000), (0, 3), (3, 0)])
def test_sections_cover_all_rows_once_and_hold_few_numbers(
    n_rows: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(half_precision, "NUMBERS_AT_ONCE", 64)
    found = list(sections(n_rows, width))
    assert [row for some in found for row in range(n_rows)[some]] == list(range(n_rows))
    assert all((some.stop - some.start) * width <= max(64, width) for some in found)
