"""The contract suite over the guest's variant."""

import pytest
from attention_arena_guest import COSINE

from attention_arena.testing import variant_cases


@pytest.mark.parametrize("case", variant_cases([COSINE]))
def test_the_variant_keeps_the_contract(case):
    case()
