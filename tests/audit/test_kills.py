"""``kill -9`` at random moments of every command: after ``--resume`` all is as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.atm.store.faults import Killed, failing

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("ATM_KILLS", "4"))  # each costs a start of the command; 20 were passed by hand
COMMANDS = {
    "attack": (
        "run.json",
        ["--auxiliary", 40, "--images", 4, "--policy", "none", "--policy", "uniform-0.5", "--quick", "--budget", 0,
         "--attack", "ridge", "--attack", "position"],
        ["scores.csv", "link.csv", "bounds.csv", "history.jsonl", "images"],
    ),
    "compare": (
        "compare.json",
        ["--auxiliary", 40, "--images", 4, "--policy", "uniform-0.5", "--attack", "ridge"],
        ["points.jsonl", "points.csv", "compare.json"],
    ),
    "sweep": (
        "sweep.json",
        ["--auxiliary", 40, "--images", 4, "--policy", "none", "--policy", "uniform-0.5", "--snr", "0:20:10"],
        ["points.jsonl", "points.csv", "frames.json", "sweep.json"],
    ),
    "search": (
        "search.json",
        ["--auxiliary", 40, "--images", 8, "--evals", 8, "--no-rescore", "--lowest", 0],
        ["trials.jsonl", "front.csv", "policies", "search.json"],
    ),
}  # fmt: skip


def content(folder: Path, names: list[str]) -> dict[str, object]:
    """What must not depend on kills: all but times."""
    found: dict[str, object] = {}
    for path in sorted(path for name in names for path in [folder / name, *(folder / name).rglob("*")]):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            keyed = {json.dumps([r.get(key) for key in ("policy", "attack", "repeat")]): r for r in records}
            records = list(keyed.values()) if path.name == "history.jsonl" else records  # the last line counts
            found[name] = [{key: value for key, value in r.items() if key != "seconds"} for r in records]
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


@pytest.mark.slow
@pytest.mark.timeout(3600)  # of a busy machine
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_random_moments_ends_as_if_nothing_had_happened(victim, pictures, tmp_path, command):
    settings, words, names = COMMANDS[command]
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.killed", str(tmp_path), settings, "5", str(KILLS), command,
         "--victim", str(victim), "--data", str(pictures), *map(str, words)],
        env={**os.environ, "TORCH_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    moments = done.stdout.splitlines()
    assert len(moments) == KILLS and moments.count("killed in the middle") > 1, "kills came in mid-run"
    whole = content(tmp_path / "whole", names)
    assert len(whole) >= len(names) and content(tmp_path / "killed", names) == whole
    assert not [*(tmp_path / "killed").rglob("*.partial"), *(tmp_path / "killed").rglob(".lock")]


@pytest.mark.parametrize("share", [0.02, 0.2, 0.4, 0.6, 0.8, 0.98])
def test_an_attack_killed_in_mid_write_ends_as_if_nothing_had_happened(atm, victim, pictures, tmp_path, share):
    _, words, names = COMMANDS["attack"]
    ask = ["attack", "--victim", victim, "--data", pictures, *words[:-2], "--out"]
    with failing() as calls:
        assert atm(*ask, tmp_path / "whole")[0] == 0
    with failing(round(share * calls.count)), pytest.raises(Killed):
        atm(*ask, tmp_path / "killed")
    there = ["--resume"] * (tmp_path / "killed/run.json").exists()
    assert atm(*ask, tmp_path / "killed", *there)[0] == 0
    names = [name for name in names if (tmp_path / "whole" / name).exists()]
    assert content(tmp_path / "killed", names) == content(tmp_path / "whole", names)
