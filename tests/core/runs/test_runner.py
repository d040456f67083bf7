"""The runner: verdicts, limits, claims, resumption, with an executor that needs no training."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from attention_arena.runs.executors import Executor, Place
from attention_arena.runs.executors.local import LocalJob
from attention_arena.runs.outcome import Outcome
from attention_arena.runs.progress import Lines
from attention_arena.runs.provenance import Provenance
from attention_arena.runs.record import StudyFile
from attention_arena.runs.runner import Runner
from attention_arena.runs.spec import RunSpec
from attention_arena.runs.store import Store
from attention_arena.study.schema import Limits

DONE = "(folder / 'outcome.json').write_text(" + repr(Outcome(status="done", steps=3).model_dump_json()) + ")"


def spec(seed: int = 0, **changes: object) -> RunSpec:
    fields = {
        "task": "toy",
        "task_version": 1,
        "task_options": {},
        "variant": "softmax",
        "variant_options": {},
        "plugin": "attention-arena",
        "plugin_version": "0",
        "model": {},
        "training": {"precision": "fp32"},
        "seed": seed,
        "measures": [],
        "data_hash": "d",
        "arena_version": "0",
        "label": "softmax",
        "baseline": True,
        "departs_from_shape": [],
        "limits": Limits(),
        "unsupported": None,
    }
    return RunSpec(**{**fields, **changes})


def executor(script: str) -> Executor:
    """Execute a Python script with the run's folder as `folder`, instead of the worker."""

    def submit(folder: Path, place: Place) -> LocalJob:
        source = f"import pathlib, sys, time, os; folder = pathlib.Path(sys.argv[1])\n{script}"
        (folder / "log.txt").write_text("the log\nits last line\n")
        with (folder / "executed").open("a") as file:
            file.write("x")
        return LocalJob(subprocess.Popen([sys.executable, "-c", source, str(folder)], start_new_session=True))

    return Executor("toy", "a script", submit)


def run(folder: Path, specs: list[RunSpec], script: str = DONE, *, workers: int = 1, retry: bool = False):
    store = Store(folder)
    store.prepare(StudyFile(study="s", question="", profile="p", text="", runs=[]), specs)
    where = Provenance("0", None, None, "host")
    said: list[str] = []
    place = Place("cpu", 1)
    runner = Runner(store, ("s", "p"), executor(script), place, workers, where, Lines(said.append), retry=retry)
    records = runner.run(specs)
    return {name: file.record for name, file in records.items()}, said


def executions(folder: Path, spec: RunSpec) -> int:
    path = folder / "runs" / spec.run / "executed"
    return len(path.read_text()) if path.exists() else 0


def test_every_run_gets_a_record_and_a_second_call_executes_nothing(tmp_path):
    specs = [spec(seed) for seed in range(3)]
    records, _ = run(tmp_path, specs, workers=2)
    assert [record.status for record in records.values()] == ["done"] * 3
    records, said = run(tmp_path, specs)
    assert [executions(tmp_path, one) for one in specs] == [1, 1, 1]
    assert "3 of 3 runs are done already" in said[0]
    assert list(records) == [one.run for one in specs]


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("sys.exit(3)", "failed", "exit status 3"),
        ("pass", "failed", "no outcome"),
        ("os.kill(os.getpid(), 9)", "oom", "signal 9"),
        ("os.kill(os.getpid(), 11)", "failed", "SIGSEGV"),
    ],
)
def test_a_child_that_dies_is_a_verdict_with_its_reason(tmp_path, script, status, words):
    records, _ = run(tmp_path, [spec(), spec(1)], script)
    assert [record.status for record in records.values()] == [status] * 2
    assert words in records[spec().run].detail
    if status == "failed":
        assert "its last line" in records[spec().run].detail


def test_a_run_over_its_time_is_ended_as_timeout(tmp_path):
    began = time.monotonic()
    records, _ = run(tmp_path, [spec(limits=Limits(seconds=0.5))], "time.sleep(60)")
    record = next(iter(records.values()))
    assert record.status == "timeout"
    assert "0.5 s" in record.detail
    assert time.monotonic() - began < 30


def test_a_run_over_its_memory_is_ended_as_oom(tmp_path):
    script = "held = b'x' * 200_000_000; time.sleep(60)"
    records, _ = run(tmp_path, [spec(limits=Limits(memory_gib=0.1))], script)
    record = next(iter(records.values()))
    assert record.status == "oom"
    assert "limits.memory_gib" in record.detail


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system knows no proportional sets")
def test_a_copy_that_waits_takes_nothing_of_a_runs_memory(tmp_path):
    """The two hold 160 MB once; resident sets alone would come to twice as much."""
    script = (
        f"held = b'x' * 160_000_000; copy = os.fork(); time.sleep(60 if copy == 0 else 1.0)\n{DONE}; os.kill(copy, 9)"
    )
    records, _ = run(tmp_path, [spec(limits=Limits(memory_gib=0.25))], script)
    record = next(iter(records.values()))
    assert (record.status, record.detail) == ("done", None)


def test_unsupported_is_recorded_without_a_child(tmp_path):
    one = spec(unsupported="linformer cannot do causal attention")
    records, _ = run(tmp_path, [one])
    assert records[one.run].status == "unsupported"
    assert records[one.run].detail == "linformer cannot do causal attention"
    assert executions(tmp_path, one) == 0


def test_retry_does_again_what_failed_and_counts_the_attempt(tmp_path):
    one = spec()
    run(tmp_path, [one], "sys.exit(1)")
    kept, _ = run(tmp_path, [one])
    assert kept[one.run].status == "failed"
    assert executions(tmp_path, one) == 1
    records, _ = run(tmp_path, [one], retry=True)
    assert records[one.run].status == "done"
    assert records[one.run].attempt == 2


@pytest.mark.parametrize("damage", ["", "{", '{"record": {}}', "\x00\xff"])
def test_a_damaged_record_is_set_aside_and_its_run_done_again(tmp_path, damage):
    one = spec()
    run(tmp_path, [one])
    path = tmp_path / "runs" / one.run / "record.json"
    path.write_text(damage, encoding="latin-1")
    with pytest.raises(ValueError, match=r"validation error|utf-8"):  # to read alone changes nothing
        Store(tmp_path).read(one.run)
    with pytest.warns(UserWarning, match="set aside as record.damaged.1.json"):
        records, _ = run(tmp_path, [one])
    assert records[one.run].status == "done"
    assert executions(tmp_path, one) == 2
    assert (path.parent / "record.damaged.1.json").read_text(encoding="latin-1") == damage


def test_a_run_that_another_process_holds_is_waited_for_and_not_done_twice(tmp_path):
    one, two = spec(), spec(1)
    Store(tmp_path).prepare(StudyFile(study="s", question="", profile="p", text="", runs=[]), [one, two])
    holder = f"""
import sys, time
from pathlib import Path
sys.path[:0] = {sys.path!r}
from attention_arena.runs.store import Store
with Store(Path({str(tmp_path)!r})).claim({one.run!r}) as free:
    assert free
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert Store(tmp_path).is_claimed(one.run)
        slow = f"time.sleep(0.3)\n{DONE}"
        watcher = subprocess.Popen([sys.executable, "-c", f"import time, os; time.sleep(1.5); os.kill({other.pid}, 9)"])
        records, _ = run(tmp_path, [one, two], slow)
        watcher.wait()
    assert [record.status for record in records.values()] == ["done", "done"]
    assert list(records) == [one.run, two.run]
    assert executions(tmp_path, one) == 1


def test_an_interrupt_ends_the_children_and_records_nothing(tmp_path, monkeypatch):
    one = spec()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "_show", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [one], "(folder / 'pid').write_text(str(os.getpid())); time.sleep(60)")
    assert Store(tmp_path).record(one.run) is None
    assert not Store(tmp_path).is_claimed(one.run)


def test_the_hash_covers_what_changes_a_number_and_nothing_else():
    same = [spec(label="other"), spec(baseline=False), spec(limits=Limits(seconds=1)), spec(departs_from_shape=["a=1"])]
    other = [
        spec(task_version=2),
        spec(data_hash="e"),
        spec(plugin_version="1"),
        spec(model={"d_model": 1}),
        spec(training={"precision": "bf16"}),
        spec(variant_options={"a": 1}),
        spec(arena_version="1"),
    ]
    assert {one.spec_hash for one in same} == {spec().spec_hash}
    assert len({one.spec_hash for one in [spec(), spec(1), *other]}) == 9
