"""From thresholds to numbers on a real, tiny victim."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
import torch

from atm import merging
from atm.data.kinds import source
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.victims.load import load_victim
from audit.pareto import objectives
from audit.pareto.config import SearchConfig
from audit.pareto.memory import peak_bytes
from audit.pareto.objectives import OBJECTIVES, Sample
from audit.pareto.problem import paired_variance
from audit.pareto.run import make_problem
from audit.pareto.space import LEVELS, Space
from audit.pareto.trials import finite
from tests.atm.models import tiny_encoder

CHEAP = ("accuracy", "gflops", "tokens", "symbols", "leakage")


@pytest.fixture(scope="module")
def problem(victim, pictures):
    """With a counter that counts 2 mJ whenever it is read."""
    read = count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objectives, "joules", lambda: next(read) * 2e-3)
        config = SearchConfig(victim=str(victim), data=str(pictures), images=40, objectives=tuple(OBJECTIVES))
        yield make_problem(config)


def test_every_objective_is_measured_and_pays_for_nothing_twice(problem):
    dense = problem.measure(MergePolicy.uniform(1.0, 3))
    merged = problem.measure(MergePolicy.uniform(0.2, 3))
    assert dense.values.keys() == merged.values.keys() == set(OBJECTIVES)
    for name in ("gflops", "tokens", "symbols", "leakage"):
        assert merged.values[name] < dense.values[name], name
    assert merged.values["memory"] <= dense.values["memory"], "the first layer's attention sees all tokens anyway"
    assert dense.values["tokens"] == 17
    assert merged.noise["tokens"] == 0, "all policies meet the same pictures, so that none is lucky with them"
    assert 0 < dense.values["latency"] < 1e4
    assert dense.values["energy"] == pytest.approx(2 / objectives.TIMED_IMAGES)


@pytest.mark.parametrize("device, reason", [("cpu", "no energy counter"), ("cuda", "computes on cuda")])
def test_energy_without_a_counter_is_refused(monkeypatch, device, reason):
    monkeypatch.setattr(objectives, "joules", lambda: None)
    with pytest.raises(AtmError, match=f"energy cannot be measured: .*{reason}"):
        objectives.need(objectives.chosen(["accuracy", "energy"]), torch.device(device))
    objectives.need(objectives.chosen(["accuracy", "latency"]), torch.device(device))


def test_a_counter_that_begins_anew_fails_the_evaluation(problem, monkeypatch):
    falling = count(0, -1)
    monkeypatch.setattr(objectives, "joules", lambda: next(falling))
    assert "energy is nan" in finite(problem.measure(MergePolicy.uniform(0.5, 3)))


def test_numbers_are_those_of_the_link(problem):
    policy = MergePolicy.uniform(0.5, 3)
    link = problem.setting.link(policy)
    sent = link.transmit(problem.images, problem.rounds[0].seed)
    values = problem.measure(policy).values
    assert values["gflops"] == pytest.approx(float(sent.flops.mean()) / 1e9)
    assert values["symbols"] == float(sent.symbols.double().mean())
    assert values["accuracy"] == float((sent.logits.argmax(-1) == problem.setting.answers.truth).double().mean())


def test_policies_that_merge_alike_have_one_effect(problem):
    low = [MergePolicy.uniform(t, 3) for t in (0.0, 1e-4)]
    assert problem.effect(low[0]) == problem.effect(low[1]) != problem.effect(MergePolicy.uniform(1.0, 3))


def test_nothing_is_sent_twice(problem, monkeypatch):
    counted = []
    original = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda *a: counted.append(len(a[1])) or original(*a))
    monkeypatch.setattr(problem, "measured", tuple(OBJECTIVES[name] for name in CHEAP))
    problem.measure(MergePolicy.uniform(0.5, 3))
    assert sum(counted) == len(problem.images)


def test_the_space_is_monotone_and_inverts_and_is_even_in_what_merges():
    encoder = tiny_encoder()
    images = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    space = Space.of(encoder, images, 0.0)
    for unit in ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.3, 0.55, 0.8]):
        thresholds = space.thresholds(unit)
        assert space.unit(thresholds) == pytest.approx(unit, abs=0.02)
    assert space.thresholds([0, 0, 0]) == (1.0, 1.0, 1.0) and space.thresholds([1, 1, 1]) == (0.0, 0.0, 0.0)
    merged = []
    for u in (0.0, 0.25, 0.5, 0.75, 1.0):
        policy = MergePolicy((space.thresholds([u, 0, 0])[0], 1.0, 1.0))
        merged.append(float((17 - encoder(images, policy).layer_tokens[1].double()).mean()))
    assert merged == pytest.approx([0, 2, 4, 6, 8], abs=0.35), "8 sources, the asked-for part of which merges"


def test_layers_behind_the_exit_are_no_coordinates():
    encoder = tiny_encoder()
    images = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    space = Space.of(encoder, images, 0.0, MergePolicy.uniform(1.0, 3, exit_layer=2))
    assert space.depth == 2 and space.thresholds([1, 1]) == (0.0, 0.0, 1.0)
    assert space.unit(space.thresholds([0.3, 0.8])) == pytest.approx([0.3, 0.8], abs=0.02)
    whole = Space.of(encoder, images, 0.0)
    assert whole.depth == 3 and whole.knots[:2] == space.knots, "what merges before is as even as without an exit"


def test_the_space_merges_where_the_device_does(monkeypatch):
    """At every level once in each layer before the exit, and in none behind it, which gets what is sent."""
    encoder, merge, merged = tiny_encoder(), merging.merge, []
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(merging, "merge", lambda tokens, *rest: merged.append(len(tokens)) or merge(tokens, *rest))
    knots = {}
    for exit_layer, layers in ((1, 1), (2, 2), (None, 3)):
        merged.clear()
        knots[exit_layer] = Space.of(encoder, images, 0.0, MergePolicy((1.0,) * 3, exit_layer=exit_layer)).knots
        assert len(merged) == layers * len(LEVELS)
    assert knots[1] == knots[None][:1] and knots[2] == knots[None][:2]


@pytest.mark.parametrize("order", ["place", "tome"])
def test_the_space_matches_in_the_order_of_the_rules(order):
    """Half of the sources of the second layer merge at its middle, on average over what merged in the first."""
    encoder, rules = tiny_encoder(), MergePolicy((1.0,) * 3, order=order)
    images = torch.rand(48, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    space, parts = Space.of(encoder, images, 0.0, rules), []
    for before in LEVELS:
        policy = replace(rules, thresholds=(*space.thresholds([before, 0.5, 0])[:2], 1.0))
        left = encoder(images, policy).layer_tokens.double()
        sources = ((left[1] - encoder.vit.num_prefix_tokens + 1) / 2).floor()
        parts.append(float((left[1] - left[2]).sum() / sources.sum()))
    assert sum(parts) / len(parts) == pytest.approx(0.5, abs=0.05), parts


def test_the_space_is_even_where_much_has_merged_before():
    """In the last of six layers, of which the others merge nothing, half or all: a part of its tokens on average."""
    encoder = load_victim("vit_photos").encoder
    images = source(encoder.signal).load(encoder.signal, "photos", limit=64).inputs
    space = Space.of(encoder, images, 0.0)
    for part in (0.25, 0.5, 0.75):
        merged = []
        for before in (0.0, 0.5, 1.0):
            left = encoder(images, MergePolicy(space.thresholds([*[before] * 5, part]))).layer_tokens.double()
            sources = ((left[-2] - encoder.vit.num_prefix_tokens + 1) / 2).floor()
            merged.append(float((left[-2] - left[-1]).sum() / sources.sum()))
        assert sum(merged) / 3 == pytest.approx(part, abs=0.1), merged


def test_peak_memory_counts_what_lives_at_once():
    x = torch.ones(1000)
    assert peak_bytes(lambda: x + 1) == 4000
    assert peak_bytes(lambda: (x + 1) + 1) == 8000
    assert peak_bytes(lambda: x.view(10, 100).T) == 0, "views hold nothing of their own"

    def one_after_the_other():
        for _ in range(5):
            x + 1

    assert peak_bytes(one_after_the_other) == 4000


def test_variance_is_that_of_the_mean():
    values = torch.randn(4000, generator=torch.Generator().manual_seed(0)).double() + 3
    assert paired_variance(values, 1.0) == pytest.approx(float(values.var()) / 4000, rel=0.02)


def test_variance_of_paired_outcomes_is_agrestis_and_mins():
    """With half a pair more in each cell: of n pairs, b that only one gets right and c that only the other does."""
    n, b, c = 50, 6, 2
    differences = torch.tensor([1.0] * b + [-1.0] * c + [0.0] * (n - b - c)).double()
    p, q = (b + 0.5) / (n + 2), (c + 0.5) / (n + 2)
    assert paired_variance(differences, 1.0) == pytest.approx((p + q - (p - q) ** 2) / (n + 2))


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.1])
def test_no_change_in_a_sample_is_no_proof_that_there_is_none(rate):
    """However few outcomes change, the interval covers the true difference, which a variance of 0 misses."""
    covered = blind = 0
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        differences = -(torch.rand(100, generator=generator) < rate).double()
        error = abs(float(differences.mean()) + rate)
        covered += error <= 1.96 * paired_variance(differences, 1.0) ** 0.5
        blind += error > 1.96 * float(differences.var() / 100) ** 0.5
    assert covered >= 0.9 * 200 and (rate > 0.01 or blind > 60)


def test_no_noise_is_0_where_images_differ(problem):
    dense = problem.measure(MergePolicy.uniform(1.0, 3))
    n = len(problem.images)
    assert dense.noise["accuracy"] == pytest.approx(1 / (n + 2) ** 2), "the same answers as its own"
    leakage = problem.rounds[0].base["leakage"]
    assert dense.noise["leakage"] == pytest.approx(float(leakage.var(correction=0)) / (n + 2) ** 2)
    assert dense.noise["tokens"] == 0, "every image has all tokens, merged or not"


@pytest.fixture(scope="module")
def turns(victim, pictures):
    """Policies that take turns with four sets of ten pictures."""
    config = SearchConfig(victim=str(victim), data=str(pictures), images=10, objectives=CHEAP)
    return make_problem(config)


def test_rounds_are_all_of_the_pictures_and_of_equal_size(turns):
    every = turns.setting.data.victims.images
    assert [len(each.images) for each in turns.rounds] == [10] * 4
    assert torch.equal(torch.cat([each.images for each in turns.rounds]), every)
    assert [len(each.answers.truth) for each in turns.rounds] == [10] * 4


def test_the_unmerged_victim_is_as_good_in_every_round(turns):
    """Though it is not on the rounds' own pictures: that is their luck, which all policies share."""
    unmerged = [turns.measure(MergePolicy.uniform(1.0, 3), number).values for number in range(4)]
    for name in CHEAP:
        assert [each[name] for each in unmerged] == pytest.approx([unmerged[0][name]] * 4)
    assert len({float(each.base["leakage"].mean()) for each in turns.rounds}) == 4
    mean = torch.cat([each.base["accuracy"] for each in turns.rounds]).mean()
    assert unmerged[0]["accuracy"] == pytest.approx(float(mean))


def test_a_round_moves_by_what_a_policy_changes_on_its_pictures(turns):
    policy = MergePolicy.uniform(0.3, 3)
    for number, each in enumerate(turns.rounds):
        sent = turns.setting.link(policy).transmit(each.images, each.seed)
        measured = turns.measure(policy, 4 + number)
        right = (sent.logits.argmax(-1) == each.answers.truth).double()
        every = torch.cat([other.base["accuracy"] for other in turns.rounds])
        moved = float(every.mean() + (right - each.base["accuracy"]).mean())
        assert measured.values["accuracy"] == pytest.approx(min(max(moved, 0), 1))
        assert measured.values["tokens"] == pytest.approx(float(sent.sent.lengths.double().mean()))
        assert measured.noise["tokens"] > 0, "on other pictures others would be left"


def test_where_there_are_few_pictures_all_policies_meet_the_same(victim, pictures):
    config = SearchConfig(victim=str(victim), data=str(pictures), images=50, objectives=CHEAP)
    assert len(make_problem(config).rounds) == 1


def test_numbers_to_remove_are_the_policys(problem):
    few = problem.measure(MergePolicy.fixed_ratio(4, 3)).values["tokens"]
    assert few == 17 - 3 * 4


def test_latency_pairs_with_nothing_and_the_rest_does():
    assert {name for name, o in OBJECTIVES.items() if not o.per_image} == {"latency", "energy", "memory"}
    assert Sample.transmission.func.__name__ == "transmission"
