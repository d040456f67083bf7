from __future__ import annotations

import pytest

from attention_arena.report.figures.scales import LINEAR, LOGARITHMIC, Scale


@pytest.mark.parametrize(("scale", "middle"), [(LOGARITHMIC, 20.0), (LINEAR, 50.05)], ids=["logarithmic", "linear"])
def test_a_place_and_its_share_of_the_axis_belong_together(scale: Scale, middle: float) -> None:
    limits = (4.0, 100.0) if scale is LOGARITHMIC else (0.1, 100.0)
    assert scale.at(limits, 0.5) == pytest.approx(middle)
    assert scale.share(limits, scale.at(limits, 0.3)) == pytest.approx(0.3)


def test_room_beside_the_values_is_a_share_of_what_runs_evenly() -> None:
    assert LOGARITHMIC.limits(1.0, 100.0, 0.5, 0.5) == pytest.approx((0.1, 1000.0))
    assert LINEAR.limits(0.0, 100.0, 0.1, 0.2) == pytest.approx((-10.0, 120.0))


@pytest.mark.parametrize("scale", [LOGARITHMIC, LINEAR], ids=["logarithmic", "linear"])
def test_equal_values_have_an_axis_all_the_same(scale: Scale) -> None:
    low, high = scale.limits(5.0, 5.0, 0.1, 0.1)
    assert low < 5.0 < high


def test_a_linear_axis_of_costs_begins_at_zero() -> None:
    assert LINEAR.start(7.0) == 0.0
    assert LOGARITHMIC.start(7.0) == 7.0
