"""What each policy adds to the hypervolume of its family, and what evaluations are remembered for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.pareto.config import SearchConfig
from audit.pareto.front import Frame
from audit.pareto.objectives import chosen
from audit.pareto.trials import Trial
from benchmarks.search import _part, added


def test_what_a_policy_adds_is_the_area_that_it_alone_dominates():
    """A rectangle between its neighbours on the front, less what another one has of it; of two equals neither any."""
    frame = Frame(chosen(["accuracy", "tokens"]), reference=(0.0, 10.0), best=(1.0, 0.0))
    points = [(0.9, 8.0), (0.6, 4.0), (0.3, 1.0), (0.5, 5.0), (0.0, 0.0)]
    trials = [Trial(i, (1.0,), "", "", {"accuracy": a, "tokens": t}) for i, (a, t) in enumerate(points)]
    behind = (0.5 - 0.3) * (0.5 - 0.2)
    alone = [(0.9 - 0.6) * 0.2, (0.6 - 0.3) * (0.6 - 0.2) - behind, 0.3 * (0.9 - 0.6), 0, 0]
    assert added(trials, frame) == pytest.approx(alone)
    twin = Trial(5, (1.0,), "", "", {"accuracy": 0.6, "tokens": 4.0})
    assert added([*trials, twin], frame)[1] == pytest.approx(0) == added([*trials, twin], frame)[5]


def test_evaluations_are_remembered_for_one_system_and_its_pictures_alone():
    asked = SearchConfig()

    def file(others: int = 500, **changes: object) -> Path | None:
        return _part(Path("M"), "others", replace(asked, **changes), others)

    assert file() == file(evals=42, lowest=0.3) and file().name.startswith("M-others-")
    another = [file(400), file(victim="vit_cifar10"), file(data="x.tar"), file(images=100), file(threat="eavesdropper")]
    assert len({file(), *another}) == 6 and _part(None, "others", asked) is None


def test_another_content_of_a_file_is_another_system(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("exit_layer: 3")
    first = _part(Path("M"), "search", SearchConfig(like=str(rules)))
    rules.write_text("exit_layer: 4")
    assert _part(Path("M"), "search", SearchConfig(like=str(rules))) != first
