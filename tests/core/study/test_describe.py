from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attention_arena.study import Plan, describe


def test_a_plan_reads_as_a_table(load: Callable[..., Plan], tmp_path: Path) -> None:
    plan = load("""
        name: readable
        question: Which one?
        seeds: [0, 1]
        training: {steps: 10, warmup_steps: 11}
        measure: [speed, memory]
        tasks: [parity, {name: babble, options: {max_length: 128}, training: {steps: 20}}]
        variants:
          - {name: full, baseline: true}
          - {name: low_rank, options: {rank: 8}, model: {d_ff: 4}}
    """)
    assert describe(plan).splitlines() == [
        f"readable (profile full), {tmp_path / 'study.yaml'}",
        "Which one?",
        "",
        "  variant            seeds  steps  notes",
        "parity",
        "  full [baseline]    0 1    10",
        "  low_rank (rank=8)  0 1    10     d_ff=4",
        "babble (max_length=128)",
        "  full [baseline]    0 1    20",
        "  low_rank (rank=8)  -      -      unsupported: low_rank cannot do causal attention, which babble needs",
        "",
        "6 runs, 80 steps in total; 2 unsupported; measured on the first seed: speed, memory",
        "warning: line 4, training.warmup_steps: warmup_steps (11) exceeds steps (10) on parity, "
        "so the learning rate never reaches its peak",
    ]
