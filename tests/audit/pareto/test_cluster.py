"""The search on a Ray cluster: every evaluation once, the same numbers, and a node's death costs little."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from atm.errors import AtmError
from atm.policy import MergePolicy
from audit import cluster
from audit.pareto.execution import OnRay
from audit.pareto.outcome import Outcome
from audit.pareto.run import explore, open_folder
from tests.audit.pareto.toy import CONFIG, Toy

ray = pytest.importorskip("ray", reason="Ray is not installed")


class Counted(Toy):
    """Leaves a file for every evaluation that begins."""

    def __init__(self, folder: Path, pause: float) -> None:
        super().__init__(pause=pause)
        self.folder = folder

    def measure(self, policy: MergePolicy, number: int = 0):
        (self.folder / f"{policy.name}-{uuid.uuid4().hex}").touch()
        return super().measure(policy, number)


def _broken():
    raise ValueError("no pictures on this node")


@pytest.fixture(scope="module")
def nodes():
    """A cluster whose head has no processor, and two workers with one each."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_worker_niceness", "0")  # beside another busy process, Ray's workers would starve
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        workers = [made.add_node(num_cpus=1, **small) for _ in range(2)]
        made.wait_for_nodes()
        yield made, workers
    finally:
        made.shutdown()
        patch.undo()


def explored(made, folder: Path, make, say=lambda line: None) -> Outcome:
    with cluster.connected(made.address):
        executor = OnRay(make)
        return explore(Toy(), CONFIG, open_folder(folder, CONFIG, False, False), executor, say)


@pytest.mark.slow
def test_every_evaluation_is_done_once_with_the_numbers_of_one_process(nodes, tmp_path):
    (tmp_path / "begun").mkdir()
    found = explored(nodes[0], tmp_path / "s", partial(Counted, tmp_path / "begun", 0.05))
    lines = [json.loads(line) for line in (tmp_path / "s/trials.jsonl").read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(CONFIG.evals))
    assert len({line["effect"] for line in lines}) == CONFIG.evals, "no policy that runs is proposed again"
    begun = Counter(path.name.rsplit("-", 1)[0] for path in (tmp_path / "begun").iterdir())
    assert begun == {f"trial-{n:04d}": 1 for n in range(CONFIG.evals)}
    for trial in found.trials:
        assert trial.values == Toy().measure(trial.policy).values
    alone = tmp_path / "alone"
    from tests.audit.pareto.toy import run

    same = {t.number: t.thresholds for t in run(alone, say=lambda line: None).trials if t.source == "start"}
    assert same == {t.number: t.thresholds for t in found.trials if t.source == "start"}


@pytest.mark.slow
def test_a_node_killed_in_mid_run_costs_only_its_running_evaluation(nodes, tmp_path):
    (tmp_path / "begun").mkdir()
    made, workers = nodes
    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        if len(steps) == 4:
            made.remove_node(workers[0], allow_graceful=False)

    found = explored(made, tmp_path / "s", partial(Counted, tmp_path / "begun", 0.3), say)
    assert [t.number for t in sorted(found.trials, key=lambda t: t.number)] == list(range(CONFIG.evals))
    assert not any(t.failure for t in found.trials)
    begun = Counter(path.name.rsplit("-", 1)[0] for path in (tmp_path / "begun").iterdir())
    assert sum(begun.values()) <= CONFIG.evals + 2, "what was finished is not done again"


@pytest.mark.slow
def test_a_worker_that_cannot_load_the_problem_says_why(nodes, tmp_path):
    with pytest.raises(AtmError, match="no pictures on this node"):
        explored(nodes[0], tmp_path / "s", _broken)


def test_no_cluster_is_one_clear_error():
    with pytest.raises(AtmError, match="no Ray cluster answers there"), cluster.connected("127.0.0.1:1"):
        pass


def test_without_ray_there_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with (
        pytest.raises(AtmError, match=r"needs Ray; in the checkout, do: (uv )?pip install -e '\.\[ray\]'"),
        cluster.connected("local"),
    ):
        pass
