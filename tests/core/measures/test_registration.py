"""The measures that come with core."""

from attention_arena.measures import register_measures


def test_the_hook_registers_each_measure_once() -> None:
    names = [measure.name for measure in register_measures()]
    assert len(set(names)) == len(names)
    assert {"speed", "decoding", "memory", "capacity", "flops", "parameters"} <= set(names)
