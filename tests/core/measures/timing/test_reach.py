"""Beyond a length that ran out of memory or time nothing is tried, and a call that must take too long is not begun."""

import pytest

from attention_arena.measures.passes import Reason
from attention_arena.measures.timing.reach import Reach


@pytest.mark.parametrize("status", ["oom", "timeout"])
def test_longer_lengths_have_the_status_of_the_one_that_failed(status: str) -> None:
    reach = Reach(10)
    reach.failed(512, Reason(status, "no more"))  # type: ignore[arg-type]
    assert reach.refusal(1024) == (status, f"not tried, because 512 tokens gave {status} already")
    assert reach.refusal(512) is None
    assert reach.refusal(256) is None


def test_the_shortest_failure_counts() -> None:
    reach = Reach(10)
    reach.failed(512, Reason("oom", "first"))
    reach.failed(1024, Reason("timeout", "second"))
    assert reach.refusal(2048) == ("oom", "not tried, because 512 tokens gave oom already")


@pytest.mark.parametrize("status", ["failed", "unsupported"])
def test_a_failure_of_another_kind_says_nothing_of_longer_lengths(status: str) -> None:
    reach = Reach(10)
    reach.failed(512, Reason(status, "odd length"))  # type: ignore[arg-type]
    assert reach.refusal(1024) is None


def test_a_power_law_tells_what_takes_too_long() -> None:
    reach = Reach(10)
    reach.took(512, 1)
    assert reach.refusal(8192) is None
    reach.took(1024, 4)
    assert reach.refusal(1536) is None
    assert reach.refusal(2048) == (
        "timeout",
        "not tried: 512 and 1024 tokens predict 16 s a call, more than max_seconds (10)",
    )


def test_a_call_that_grew_faster_with_length_is_not_predicted_to_shrink() -> None:
    reach = Reach(10)
    reach.took(512, 9)
    reach.took(1024, 3)
    assert reach.refusal(2**20) is None
