"""The command: what it writes, and what it says of bad options."""

from pathlib import Path

import pytest

from bench.output import read_rows
from bench.peers import main


@pytest.mark.slow
def test_a_small_run_writes_its_tables_its_figure_and_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = "--no-peers --settings small --directions bidirectional --variants linformer --lengths 256 512"
    how = f"--samples 1 --budget 0 --threads 0 --dtype both --out {tmp_path}"
    main([*what.split(), *how.split()])
    rows = read_rows(tmp_path / "times.csv")
    cells = {(row.implementation, row.length, row.phase, row.dtype) for row in rows}
    assert len(rows) == len(cells) == 2 * 2 * 2 * 2
    assert {row.status for row in rows} == {"done"}
    assert all(row.cpu_seconds and row.peak_mib and row.ratio for row in rows)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "bars.csv",
        "contract.csv",
        "growth.csv",
        "peers-small.png",
        "peers-small.svg",
        "times.csv",
    }
    page = (tmp_path / "README.md").read_text()
    assert "| linformer | bidirectional | yes | - | - | yes | yes | - |" in page
    assert "time over fused softmax at 512" in page
    assert "0 of" in capsys.readouterr().out


def test_an_unknown_setting_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--settings", "huge"])
    assert "'huge' (choose from" in capsys.readouterr().err
