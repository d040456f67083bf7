"""References attend to the same places as the weights they stand beside, as unevenly, and mean nothing."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from attention_arena.measures.diagnostics.references import (
    NoReferenceError,
    random_logits,
    random_queries_and_keys,
    shuffled_rows,
    spread,
    uniform,
)
from attention_arena.measures.diagnostics.spectrum import cumulative, effective_rank, singular_values

H, N, E = 3, 64, 8


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(causal: bool = True) -> Tensor:
    """Softmax of logits whose spread differs from head to head."""
    logits = torch.randn(H, N, N, generator=draw()) * torch.tensor([0.3, 1.0, 2.5])[:, None, None]
    seen = torch.ones(N, N, dtype=torch.bool).tril() if causal else torch.ones(N, N, dtype=torch.bool)
    return logits.masked_fill(~seen, -torch.inf).softmax(-1)


REFERENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": uniform,
    "shuffled rows": lambda given: shuffled_rows(given, draw(1)),
    "random logits": lambda given: random_logits(given, draw(1)),
    "random queries and keys": lambda given: random_queries_and_keys(given, E, draw(1)),
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("causal", [False, True])
def test_a_reference_attends_to_the_same_places_and_its_rows_sum_to_1(name: str, causal: bool) -> None:
    given = weights(causal)
    found = REFERENCES[name](given)
    assert torch.equal(found > 0, given > 0)
    torch.testing.assert_close(found.sum(-1), torch.ones(H, N))


@pytest.mark.parametrize("name", REFERENCES)
def test_a_query_that_attends_to_nothing_still_does_not(name: str) -> None:
    given = weights()
    given[1, 5] = 0.0
    assert not REFERENCES[name](given)[1, 5].any()


@pytest.mark.parametrize("name", ["random logits", "random queries and keys"])
def test_random_logits_vary_within_rows_as_those_of_the_weights_do(name: str) -> None:
    given = weights()
    found = REFERENCES[name](given)
    seen = given > 0
    wanted, got = (spread(each.where(seen, 1.0).log(), seen) for each in (given, found))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found, given)


def test_shuffled_rows_hold_the_same_weights() -> None:
    given = weights()
    found = REFERENCES["shuffled rows"](given)
    assert torch.equal(found.sort(-1).values, given.sort(-1).values)
    assert not torch.equal(found, given)


def test_shuffled_rows_take_weights_below_0_too() -> None:
    signed = torch.randn(H, N, N, generator=draw())
    assert torch.equal(shuffled_rows(signed, draw(1)).sort(-1).values, signed.sort(-1).values)


def test_weights_below_0_are_no_softmax() -> None:
    with pytest.raises(NoReferenceError, match="some weights are negative"):
        random_logits(-weights(), draw())


def test_logits_of_random_queries_and_keys_have_the_rank_of_a_head() -> None:
    found = random_queries_and_keys(weights(causal=False), E, draw(1)).double().log()
    centred = found - found.mean(-1, keepdim=True)
    assert int(torch.linalg.matrix_rank(centred[1], atol=1e-2)) == E


class TestSpectrum:
    def test_equal_weights_have_one_singular_value(self) -> None:
        values = singular_values(torch.full((N, N), 1 / N))
        # One percent of 64 values is 0.64 of the first.
        torch.testing.assert_close(cumulative(values, (1, 2, 50)), torch.tensor([64.0, 100.0, 100.0]).double())
        assert effective_rank(values, 0.9) == 100 / N

    def test_the_identity_rises_evenly(self) -> None:
        values = singular_values(torch.eye(100))
        torch.testing.assert_close(cumulative(values, (1, 25, 50, 90)), torch.tensor([1.0, 25.0, 50.0, 90.0]).double())
        assert effective_rank(values, 0.9) == 90.0

    @pytest.mark.parametrize("rank", [2, 5, 16])
    def test_a_matrix_of_low_rank_has_all_in_its_rank(self, rank: int) -> None:
        left, right = (torch.rand(N, rank, generator=draw(seed)).double() for seed in (1, 2))
        values = singular_values(left @ right.T)
        assert effective_rank(values, 0.999999) <= 100 * rank / N
        torch.testing.assert_close(cumulative(values, (25,)), torch.tensor([100.0]).double())

    def test_equal_weights_up_to_each_query_have_the_spectrum_of_their_triangle(self) -> None:
        # 0.89 of 512 at a quarter, which any causal attention has to be compared with.
        triangle = torch.ones(512, 512).tril()
        values = singular_values(triangle / triangle.sum(-1, keepdim=True))
        assert float(cumulative(values, (25,))) == pytest.approx(89.0, abs=1.0)

    def test_values_of_different_numbers_are_read_off_at_the_same_share(self) -> None:
        for n in (10, 37, 100):
            torch.testing.assert_close(
                cumulative(torch.ones(n).double(), (25, 60)), torch.tensor([25.0, 60.0]).double()
            )

    def test_attention_to_nothing_has_no_rank(self) -> None:
        assert effective_rank(torch.zeros(10).double(), 0.9) == 0.0
        assert cumulative(torch.zeros(10).double()).max() == 0.0
