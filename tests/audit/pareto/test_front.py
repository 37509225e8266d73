"""Fronts, hypervolumes, units and notices."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from botorch.utils.multi_objective.pareto import is_non_dominated

from atm.errors import AtmError
from audit.pareto.config import SearchConfig
from audit.pareto.front import Frame, hypervolume, non_dominated, stagnation, unkept
from audit.pareto.objectives import DEFAULT, OBJECTIVES, bounds, chosen, reference
from audit.pareto.outcome import Outcome
from audit.pareto.proposer import Proposer
from audit.pareto.trials import Trial


@pytest.mark.parametrize("width", [2, 3, 4])
def test_hypervolume_is_that_of_a_union_of_boxes(width):
    """By inclusion and exclusion; two points lie outside."""
    points = torch.rand(8, width, generator=torch.Generator().manual_seed(width), dtype=torch.float64)
    inside = [
        points[list(rows)].amin(0).prod() * (-1) ** (k + 1) for k in range(1, 9) for rows in combinations(range(8), k)
    ]
    outside = torch.cat([points[:2] - 1, torch.full((1, width), 2.0)])
    outside[2, 0] = -0.1
    assert hypervolume(torch.cat([points, outside])) == pytest.approx(float(sum(inside)), rel=1e-9)


def test_hypervolume_of_one_box_and_of_two_that_overlap():
    assert hypervolume(torch.tensor([[0.5, 0.5, 0.5]])) == pytest.approx(0.125)
    assert hypervolume(torch.tensor([[1.0, 0.5], [0.5, 1.0]])) == pytest.approx(0.75)
    assert hypervolume(torch.tensor([[-1.0, 0.5]])) == 0


def test_non_dominated_is_botorchs_with_duplicates_once():
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    assert non_dominated(points).tolist() == is_non_dominated(points).tolist()
    assert non_dominated(points[:1].repeat(3, 1)).tolist() == [True, False, False]


def test_the_reference_is_a_tenth_of_the_range_beyond_the_worst_start():
    start = [
        Trial(i, (1.0,), "start", "", {"accuracy": a, "tokens": t}) for i, (a, t) in enumerate([(0.9, 65), (0.7, 5)])
    ]
    objectives = chosen(["accuracy", "tokens"])
    frame = Frame.of(objectives, start)
    assert frame.reference == pytest.approx((0.68, 71)) and frame.best == pytest.approx((0.9, 5))
    asked = Frame.of(objectives, start, {"accuracy": 0.5})
    assert asked.reference == pytest.approx((0.5, 71))
    assert asked.points(start)[0].tolist() == pytest.approx([1.0, 6 / 66])


def starts(*rows: tuple[float, float]) -> list[Trial]:
    return [Trial(i, (1.0,), "start", "", {"accuracy": a, "tokens": t}) for i, (a, t) in enumerate(rows)]


def test_policies_that_break_a_limit_do_not_set_the_reference():
    start, objectives = starts((0.9, 65), (0.7, 5), (0.8, 20), (0.2, 4)), chosen(["accuracy", "tokens"])
    frame = Frame.of(objectives, start, None, bounds(["accuracy=0.75"], []))
    assert frame.reference == pytest.approx((0.8 - 0.07, 65 + 6.1)) and frame.best == pytest.approx((0.9, 20))
    one = Frame.of(objectives, start, None, bounds([], ["tokens=4.5"]))
    assert one.reference == pytest.approx((0.2 - 0.07, 4 + 6.1)), "a single one has no range, but a tenth of all's"
    assert Frame.of(objectives, start, {"tokens": 30}, bounds([], ["tokens=4.5"])).reference[1] == 30


def test_the_search_and_its_report_measure_in_the_frame_of_what_keeps_the_limits(tmp_path):
    start, objectives = starts((0.9, 65), (0.7, 5), (0.8, 20)), chosen(["accuracy", "tokens"])
    limits = bounds(["accuracy=0.75"], [])
    expected = Frame.of(objectives, start, None, limits)
    assert Proposer(objectives, limits, 1, evals=9, started=3).frame(start) == expected != Frame.of(objectives, start)
    config = SearchConfig(objectives=("accuracy", "tokens"), at_least=("accuracy=0.75",))
    assert Outcome(tmp_path, config, tuple(start), 3).frame == expected


def test_where_no_start_keeps_the_limits_all_set_the_reference_and_that_is_said(tmp_path):
    start, objectives = starts((0.9, 65), (0.7, 5)), chosen(["accuracy", "tokens"])
    limits = bounds(["accuracy=0.95"], [])
    assert unkept(start, limits) and Frame.of(objectives, start, None, limits) == Frame.of(objectives, start)
    assert not unkept(start, bounds(["accuracy=0.9"], [])) and not unkept(start, []) and not unkept([], limits)
    for asked, said in (("accuracy=0.95", True), ("accuracy=0.9", False)):
        config = SearchConfig(objectives=("accuracy", "tokens"), at_least=(asked,))
        warned = any(
            "set the hypervolume's reference" in w for w in Outcome(tmp_path, config, tuple(start), 2).warnings
        )
        assert warned is said


def test_what_failed_sets_no_reference():
    start = [*starts((0.9, 65), (0.7, 5)), Trial(2, (1.0,), "start", "", failure="no numbers")]
    objectives = chosen(["accuracy", "tokens"])
    assert Frame.of(objectives, start) == Frame.of(objectives, start[:2])
    assert Frame.of(objectives, []).reference == pytest.approx((-0.1, 0.1))


def test_flops_is_gflops():
    assert [o.name for o in chosen(["accuracy", "flops", "gflops", "leakage"])] == ["accuracy", "gflops", "leakage"]
    assert bounds([], ["flops=0.1"])[0].objective.name == "gflops"


def test_bad_words_are_named():
    with pytest.raises(AtmError, match="accurracy"):
        chosen(["accurracy", "tokens"])
    with pytest.raises(AtmError, match="two"):
        chosen(["accuracy"])
    with pytest.raises(AtmError, match="NAME=NUMBER"):
        bounds(["accuracy"], [])
    with pytest.raises(AtmError, match="no objective of this search"):
        reference(["latency=3"], chosen(DEFAULT))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_scales_invert_and_have_the_slope_they_say(name):
    scale = OBJECTIVES[name].scale
    y = torch.tensor([0.03, 0.4, 0.97], dtype=torch.float64)
    assert torch.allclose(scale.inverse(scale.forward(y)), y)
    numeric = (scale.forward(y + 1e-6) - scale.forward(y - 1e-6)) / 2e-6
    assert torch.allclose(scale.slope(y), numeric, rtol=1e-4)


def test_stagnation_is_noticed_and_growth_is_not():
    assert stagnation([1.0] * 40, 14)
    assert stagnation([1.0 + 0.01 * i for i in range(40)], 14) is None
    assert stagnation([1.0] * 20, 14) is None, "the starting policies are no stagnation"
