import pytest

from attention_arena.study.fit import shape_for
from attention_arena.task import TaskNeeds
from attention_arena.variant import ModelSettings


@pytest.mark.parametrize(
    ("needs", "length"),
    [
        (TaskNeeds(frozenset(), 64, causal=False), 65),
        (TaskNeeds(frozenset(), 64, causal=False, predicts_tokens=True), 64),
        (TaskNeeds(frozenset(), 64, causal=True), 64),
    ],
    ids=["classes", "masked tokens", "next tokens"],
)
def test_a_cls_token_takes_a_position_where_a_sequence_is_pooled(needs: TaskNeeds, length: int) -> None:
    assert shape_for(ModelSettings(pooling="cls"), needs).max_length == length
    assert shape_for(ModelSettings(pooling="mean"), needs).max_length == 64
