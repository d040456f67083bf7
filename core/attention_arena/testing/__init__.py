"""The contract suite: what every variant and every task must do, as checks for our plugins and anyone's.

A plugin's own tests run it:

    @pytest.mark.parametrize("case", variant_cases([MY_VARIANT]))
    def test_the_contract_holds(case):
        case()

What attention has to hold (C1 to C9) and the checks that look at it; each with padding and without, where that matters:

| | property | checks |
|---|---|---|
| C1 | shapes, dtypes, devices kept; the seed decides; a state dict is complete | `shapes` `determinism` `state_dict` |
| C2 | gradients are those of numerical differences, or a second one is refused | `gradients` |
| C3 | no gradient from later inputs | `gradient_causality` |
| C4 | no change from later inputs | `perturbation_causality` |
| C5 | padding changes nothing | `padding` |
| C6 | nothing but finite numbers at the edges; zeros where there is nothing to attend to | `finite` |
| C7 | steps equal one pass | `stepwise` |
| C8 | rows and heads are interchangeable; the weights of a query sum to 1 | `equivariance` `heads` `weights` |
| C9 | cost grows as claimed, is what the formulas say, and is not wasted | `cost` `formula` `waste` |

Beside them: `residuals` (three residual stacks are one function), `segment_state` (memory between segments) and
`refusals` (inputs that do not fit).
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
