"""The contract suite: what every variant and every task must do, as checks for our plugins and anyone's.

A plugin's own tests run it:

    @pytest.mark.parametrize("case", variant_cases([MY_VARIANT]))
    def test_the_contract_holds(case):
        case()
"""

from attention_arena.testing.tasks import TASK_CHECKS, TaskCase, check_task, task_cases
from attention_arena.testing.variants import VARIANT_CHECKS, VariantCase, check_variant, variant_cases
from attention_arena.testing.verdict import ContractError, Finding, NotApplicable

__all__ = [
    "TASK_CHECKS",
    "VARIANT_CHECKS",
    "ContractError",
    "Finding",
    "NotApplicable",
    "TaskCase",
    "VariantCase",
    "check_task",
    "check_variant",
    "task_cases",
    "variant_cases",
]
