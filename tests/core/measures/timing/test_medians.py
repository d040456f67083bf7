"""The interval of a median holds it as often as it says, also where samples resemble each other."""

import math

import pytest
import torch

from attention_arena.measures.timing.medians import median_interval, series_interval


def series(n: int, correlation: float, draws: int, seed: int) -> list[list[float]]:
    """Return draws of n samples with median 0, each like the one before to a degree."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, n, generator=generator, dtype=torch.float64)
    samples = noise.clone()
    for i in range(1, n):
        samples[:, i] = correlation * samples[:, i - 1] + math.sqrt(1 - correlation**2) * noise[:, i]
    return samples.tolist()  # type: ignore[no-any-return]


class TestMedianInterval:
    def test_the_interval_lies_between_order_statistics(self) -> None:
        """Of 20 samples the 6th smallest and largest hold 95.9 %, the 7th would hold 88.5 %."""
        assert median_interval(list(range(20, 0, -1))) == (10.5, 6, 15)

    def test_six_samples_have_their_range_as_interval_and_five_have_none(self) -> None:
        assert median_interval([3, 1, 2, 6, 5, 4]) == (3.5, 1, 6)
        assert median_interval([3, 1, 2, 5, 4]) == (3, None, None)

    @pytest.mark.parametrize("n", [6, 10, 25])
    def test_it_holds_the_true_median_in_95_percent_of_draws(self, n: int) -> None:
        intervals = [median_interval(draw) for draw in series(n, 0.0, 2000, n)]
        held = sum(interval.low <= 0 <= interval.high for interval in intervals) / len(intervals)  # type: ignore[operator]
        assert held > 0.94


class TestSeriesInterval:
    def test_without_correlation_it_is_that_of_the_median(self) -> None:
        samples = [5.0, 1, 8, 3, 9, 2, 7, 4, 6, 0]
        assert series_interval(samples) == median_interval(samples)

    def test_where_one_sample_resembles_the_last_it_is_wider(self) -> None:
        rising = [float(i) for i in range(20)]
        wide, narrow = series_interval(rising), median_interval(rising)
        assert wide.median == narrow.median
        assert wide.low < narrow.low  # type: ignore[operator]
        assert wide.high > narrow.high  # type: ignore[operator]

    def test_samples_all_alike_have_an_interval_without_width(self) -> None:
        assert series_interval([2.0] * 9) == (2, 2, 2)

    def test_five_samples_have_none(self) -> None:
        assert series_interval([3, 1, 2, 5, 4]) == (3, None, None)

    @pytest.mark.parametrize("correlation", [0.0, 0.3])
    def test_it_holds_the_true_median_of_correlated_samples(self, correlation: float) -> None:
        """The plain interval holds it in 89 % of draws of 18 samples at a correlation of 0.3."""
        intervals = [series_interval(draw) for draw in series(18, correlation, 2000, 1)]
        held = sum(interval.low <= 0 <= interval.high for interval in intervals) / len(intervals)  # type: ignore[operator]
        assert held > 0.93
