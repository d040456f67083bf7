"""Keys, spans and entropies of attention whose values are known beforehand."""

import math

import pytest
import torch
from torch import Tensor

from attention_arena.measures.diagnostics.attended import Attended
from attention_arena.measures.diagnostics.concentration import allowed_keys, entropy, keys_for, span_for
from attention_arena.measures.diagnostics.maps import pool
from attention_arena.measures.diagnostics.span import required_span
from attention_arena.measures.diagnostics.sparsity import share_of_keys

N = 100


def uniform(causal: bool = False) -> Tensor:
    seen = torch.ones(N, N).tril() if causal else torch.ones(N, N)
    return seen / seen.sum(-1, keepdim=True)


def banded(width: int) -> Tensor:
    """Equal weights on every key at most `width` away."""
    places = torch.arange(N)
    seen = ((places[:, None] - places).abs() <= width).float()
    return seen / seen.sum(-1, keepdim=True)


def sequence(mass: Tensor, n_memory: int = 0) -> Attended:
    return Attended(mass.expand(2, 3, *mass.shape), mass.expand(2, 3, *mass.shape), n_memory)


class TestKeys:
    def test_uniform_attention_has_90_percent_in_90_percent_of_its_keys(self) -> None:
        assert keys_for(uniform(), 0.9).tolist() == [90] * N
        share = share_of_keys(sequence(uniform()), 0.9, causal=False)
        torch.testing.assert_close(share, torch.full((2, 3), 90.0, dtype=torch.float64))

    def test_of_causal_attention_only_keys_up_to_the_query_are_counted(self) -> None:
        share = share_of_keys(sequence(uniform(causal=True)), 0.9, causal=True)
        expected = sum(math.ceil(0.9 * n - 1e-9) / n for n in range(1, N + 1))
        torch.testing.assert_close(share, torch.full((2, 3), expected, dtype=torch.float64))

    def test_attention_to_one_place_needs_one_key(self) -> None:
        assert keys_for(torch.eye(N), 0.9).tolist() == [1] * N

    def test_a_window_needs_nine_tenths_of_it(self) -> None:
        assert keys_for(banded(10), 0.9)[50] == 19  # 0.9 x 21 = 18.9

    def test_the_heaviest_keys_count_wherever_they_stand(self) -> None:
        assert keys_for(torch.tensor([[0.05, 0.5, 0.05, 0.4]]), 0.9).tolist() == [2]

    def test_queries_that_attend_to_nothing_are_left_out(self) -> None:
        mass = torch.eye(N).index_fill(0, torch.arange(50), 0.0)
        assert keys_for(mass, 0.9)[:50].tolist() == [0] * 50
        torch.testing.assert_close(
            share_of_keys(sequence(mass), 0.9, causal=False), torch.full((2, 3), 1.0, dtype=torch.float64)
        )

    def test_keys_of_a_memory_are_allowed_to_every_query(self) -> None:
        assert allowed_keys(3, 5, causal=True, device=torch.device("cpu")).tolist() == [3, 4, 5]
        assert allowed_keys(3, 5, causal=False, device=torch.device("cpu")).tolist() == [5, 5, 5]


class TestSpan:
    def test_attention_to_itself_has_no_span(self) -> None:
        assert span_for(torch.eye(N), 0.9).tolist() == [0] * N

    @pytest.mark.parametrize("distance", [1, 7, 40])
    def test_attention_to_one_distance_has_that_span(self, distance: int) -> None:
        mass = torch.zeros(N, N)
        for query in range(N):
            mass[query, query - distance if query >= distance else query + distance] = 1.0
        assert span_for(mass, 0.9).tolist() == [distance] * N

    def test_a_window_has_the_span_of_nine_tenths_of_it(self) -> None:
        # 19 of 21 keys: the query's own and 9 on either side.
        assert span_for(banded(10), 0.9)[50] == 9

    def test_the_span_of_uniform_attention_reaches_90_keys(self) -> None:
        assert span_for(uniform(), 0.9)[0] == 89
        # From the middle: the query's own and 45 on either side are 91.
        assert span_for(uniform(), 0.9)[50] == 45
        assert span_for(uniform(causal=True), 0.9)[-1] == 89

    def test_distances_into_a_memory_count_from_the_query(self) -> None:
        mass = torch.zeros(3, 5)
        mass[:, 0] = 1.0
        assert span_for(mass, 0.9).tolist() == [2, 3, 4]

    def test_queries_that_attend_to_nothing_are_left_out(self) -> None:
        mass = torch.zeros(4, 4)
        mass[3, 0] = 1.0
        assert required_span(sequence(mass), 0.9)[0, 0] == 3.0


class TestEntropy:
    def test_equal_weights_have_the_logarithm_of_their_number(self) -> None:
        torch.testing.assert_close(entropy(uniform()), torch.full((N,), math.log2(N)))

    def test_one_key_has_none(self) -> None:
        assert entropy(torch.eye(N)).abs().max() == 0.0


class TestPooling:
    @pytest.mark.parametrize("shape", [(100, 100), (64, 64), (7, 13), (65, 200)], ids=str)
    def test_no_mass_is_lost(self, shape: tuple[int, int]) -> None:
        mass = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
        mass = mass / mass.sum(-1, keepdim=True)
        pooled = pool(mass, 64)
        assert pooled.shape == (2, 3, min(shape[0], 64), min(shape[1], 64))
        torch.testing.assert_close(pooled.sum(-1), torch.ones(pooled.shape[:-1]))

    def test_a_small_map_stays_as_it_is(self) -> None:
        mass = torch.eye(7)
        assert torch.equal(pool(mass, 64), mass)

    def test_a_cell_is_the_mean_over_queries_of_the_sum_over_keys(self) -> None:
        mass = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
        torch.testing.assert_close(pool(mass, 2), torch.tensor([[0.4, 0.6], [0.5, 0.5]]))
