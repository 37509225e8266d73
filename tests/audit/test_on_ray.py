"""Attacks, comparisons and sweeps on a Ray cluster: the numbers of one process, and nothing done twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from atm.errors import AtmError
from audit import cluster
from audit.compare import CompareConfig, compare
from audit.evaluate import attack
from audit.setting import AttackConfig
from audit.sweep import SweepConfig, sweep


def test_without_a_cluster_nothing_is_loaded_or_written(atm, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    for name in ("attack", "compare", "sweep"):
        code, _, err = atm(name, "--victim", "nobody", "--ray", "127.0.0.1:1", "--out", tmp_path / "out")
        assert code == 2 and "no Ray cluster answers there" in err and len(err.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two processors that a whole module shares, on which numbers are added up as they are here."""
    pytest.importorskip("ray", reason="Ray is not installed")
    threads = torch.get_num_threads()
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_worker_niceness", "0")  # beside another busy process, Ray's workers would starve
    torch.set_num_threads(1)
    try:
        with cluster.connected("local"):
            yield
    finally:
        torch.set_num_threads(threads)
        patch.undo()


def attacked(few: dict[str, Any], out: Path, **how: Any) -> None:
    # `amortized` is fitted once for all policies of one process
    config = AttackConfig(**few, policies=("none", "uniform-0.5", "uniform-0.7"), attacks=("ridge", "amortized"),
                          defense="gaussian:0.1", quick=True, budget=None)  # fmt: skip
    attack(config, out, **how)


def compared(few: dict[str, Any], out: Path, **how: Any) -> None:
    config = CompareConfig(**few, policies=("uniform-0.5",), attacks=("ridge",), defenses=("quantize:2",))
    compare(config, out, **how)


def swept(few: dict[str, Any], out: Path, **how: Any) -> None:
    config = SweepConfig(**few, policies=("none", "uniform-0.5"), channels=("rician,k=3", "awgn"), snr=(10.0, 0.0))
    sweep(config, out, **how)


LOGS = {attacked: ("scores.csv", "link.csv", "history.jsonl"), compared: ("points.jsonl",), swept: ("points.jsonl",)}


def content(folder: Path, command: Callable[..., None]) -> dict[Any, Any]:
    """All numbers and pictures: of what is written down as it ends in any order, of what is made of it in one."""
    lines = {name: sorted((folder / name).read_text().splitlines()) for name in LOGS[command]}
    tables = {} if command is attacked else {"points.csv": (folder / "points.csv").read_text()}
    return lines | tables | {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}


@pytest.mark.parametrize(
    ("command", "half"),
    [(attacked, "ridge on uniform-0.5"), (compared, "attacking uniform-0.5"), (swept, "[5/8] ")],
    ids=["attack", "compare", "sweep"],
)
def test_a_run_that_goes_on_on_a_cluster_ends_with_the_numbers_of_one_process(
    nodes, victim, pictures, tmp_path, command, half
):
    few = {"victim": str(victim), "data": str(pictures), "images": 6, "auxiliary": 60}
    command(few, tmp_path / "here")

    def stop(line: str) -> None:
        if half in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command(few, tmp_path / "there", say=stop)
    log = tmp_path / "there" / LOGS[command][0]
    before, steps = log.read_text(), list[str]()
    command(few, tmp_path / "there", resume=True, ray="local", say=steps.append)
    assert content(tmp_path / "there", command) == content(tmp_path / "here", command)
    assert log.read_text().startswith(before), "what was finished stays"
    assert not any(half in line for line in steps if command is attacked), "this process does none of it"


def test_a_cluster_without_a_gpu_is_told_at_once(nodes, monkeypatch):
    monkeypatch.setattr("atm.device.resolve", lambda name: torch.device(name))
    with pytest.raises(AtmError, match="has no GPU"), cluster.connected("local", "cuda:1"):
        pass
    assert cluster.placed(AttackConfig(device="cuda:1")).device == "cuda", "the one that Ray shows a worker"


def test_workers_agree_on_the_first_choice(nodes):
    first, second = cluster.Agreement(), cluster.Agreement()
    assert (first("ridge/fit", 3), first("ridge/fit", 5), second("ridge/fit", 5)) == (3, 3, 5)


def _fail(state: str, job: int) -> str:
    if job == 2:
        raise AtmError(f"{state} {job}")
    return f"{state} {job}"


def test_a_failure_is_told_in_the_words_of_the_worker(nodes):
    jobs = cluster.Jobs(lambda: "job", _fail)
    assert sorted(jobs.results([0, 1])) == [(0, "job 0"), (1, "job 1")]
    with pytest.raises(AtmError, match=r"^job 2$"):
        list(jobs.results([2]))
