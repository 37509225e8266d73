"""What a policy is recommended for: other pictures than the search's, the full suite, and what is said of both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from markupsafe import escape

from atm.data.duplicates import apart
from atm.policy import MergePolicy
from audit.pareto.again import NONE_LEFT, measured_again, unseen
from audit.pareto.config import SearchConfig
from audit.pareto.outcome import FULL_SUITE, STOPPED, Outcome
from audit.pareto.pick import pick_policy
from audit.pareto.price import prices
from audit.pareto.recommendation import accurate, recommended
from audit.pareto.report import export, lasting, render
from audit.pareto.run import make_problem, open_folder
from audit.pareto.trials import Trial
from privacy_metrics.statistics import wilson
from tests.audit.pareto.toy import CONFIG, Toy, run, with_twin


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "s"
    run(path, say=lambda line: None)
    return path


@pytest.fixture
def outcome(folder):
    return Outcome.read(folder)


class OtherPictures(Toy):
    """The same problem, where the accuracy of one policy was luck, and a policy without numbers."""

    def __init__(self, lucky, broken=()) -> None:
        super().__init__()
        self.images, self.lucky, self.fails = torch.zeros(50, 1), lucky, broken

    def measure(self, policy, number=0):
        if policy.name in self.fails:
            raise ValueError("nothing works here")
        measured = super().measure(policy, number)
        if policy.name == self.lucky:
            measured.values["accuracy"] = 0.01
            measured.values["leakage"] = 0.99
        return measured


def again(outcome, problem, say=lambda line: None):
    with open_folder(outcome.folder, CONFIG, True, False) as store:
        return measured_again(outcome, store, lambda: problem, say)


def test_a_policy_that_was_lucky_is_not_recommended(outcome):
    lucky = next(r.trial for r in recommended(outcome) if r.title == "privacy first")
    found = again(outcome, OtherPictures(lucky.name))
    assert found.again_images == 50 and found.again.keys() == {trial.name for trial in outcome.shown}
    assert lucky in found.front and lucky not in found.lasting
    assert lucky not in [r.trial for r in recommended(found)]
    assert found.known(lucky)["accuracy"] == 0.01 and lucky.values["accuracy"] > 0.5
    chosen = recommended(found)[0].trial
    assert found.again[chosen.name] == pytest.approx(chosen.values)
    moved = replace(found, again={**found.again, chosen.name: {**chosen.values, "gflops": 0.012345}})
    named = [r for r in recommended(moved) if r.trial == chosen]
    assert named and render(moved).count("0.01235") == 1 + len(named), "and in the table of all"
    assert str(escape(lasting(found))) in render(found) and "50 pictures that the search never saw" in lasting(found)
    assert Outcome.read(outcome.folder).again == found.again


def test_where_nothing_was_luck_the_front_stays(outcome):
    found = again(replace(outcome, again={}), OtherPictures(None))
    assert found.lasting == found.front
    assert [r.trial for r in recommended(found)] == [r.trial for r in recommended(replace(outcome, again={}))]
    table = found.table().set_index("policy")
    for trial in found.front:
        assert table.loc[trial.name, "leakage_again"] == pytest.approx(trial.values["leakage"])
    assert table.leakage_again.isna().sum() == len(found.trials) - len(found.shown)


def test_where_none_keeps_its_bounds_on_other_pictures_none_is_recommended(outcome):
    config = replace(outcome.config, at_least=("accuracy=0.5",))
    low = {trial.name: {**trial.values, "accuracy": 0.3} for trial in outcome.front}
    found = replace(outcome, config=config, again=low, again_images=50)
    assert found.front and not found.lasting and not recommended(found)
    assert any("no policy of the front keeps accuracy" in line for line in found.warnings) and render(found)


def test_a_recommendation_says_where_its_measured_number_breaks_a_bound(outcome):
    """The model believes more of two policies than was measured, and a bound is kept by the very value."""
    found = replace(outcome, config=replace(outcome.config, at_least=("accuracy=0.6",)), again={}, full={})
    first, second = list(dict.fromkeys(r.trial.name for r in recommended(found)))[:2]
    values = {trial.name: trial.values for trial in found.trials}
    raw = {name: {**values[name], "accuracy": a} for name, a in ((first, 0.58), (second, 0.6))}
    believing = replace(found, raw=raw)
    words = "accuracy 0.58, as the search measured it, breaks accuracy >= 0.6"
    assert [words in r.reason for r in recommended(believing)] == [r.trial.name == first for r in recommended(found)]
    assert str(escape(words)) in render(believing) and str(escape(words)) not in render(found)
    assert any(words in reason for reason in export(believing).content["reasons"].values())


def test_pick_says_where_the_measured_number_breaks_its_bound(folder, outcome):
    best = max(outcome.front, key=lambda trial: trial.values["accuracy"])
    measured = best.values["accuracy"]
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(believed={best.name: {"accuracy": measured + 0.02}}, again={}, full={})
    picked = pick_policy(folder, at_least=[f"accuracy={measured + 0.01}"], minimize="leakage")
    assert picked.trial.name == best.name and "as the search measured it, breaks accuracy >=" in picked.notes[-1]
    assert not any(
        "breaks" in n for n in pick_policy(folder, at_least=[f"accuracy={measured}"], minimize="leakage").notes
    )
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(believed={})


def test_a_policy_that_fails_on_other_pictures_is_out_and_the_others_stay(outcome):
    broken = outcome.front[0].name
    found = again(replace(outcome, again={}), OtherPictures(None, (broken,)))
    assert broken not in found.again and len(found.again) == len(outcome.shown) - 1
    assert broken not in [trial.name for trial in found.lasting]


def test_what_was_measured_is_not_measured_again(outcome):
    first = again(replace(outcome, again={}), OtherPictures(None))
    said = []
    second = again(first, None, said.append)
    assert second.again == first.again and second.again_images == 50 and not said


def test_stopping_keeps_what_was_measured(outcome):
    class Stopped(OtherPictures):
        def measure(self, policy, number=0):
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().measure(policy, number)

    found = again(replace(outcome, again={}), Stopped(None))
    assert len(found.again) == 2 and found.stopped and found.notes[-1].startswith(STOPPED)


def test_the_unmerged_policy_stands_first_and_is_of_the_front_only_if_it_is(outcome):
    alone = replace(outcome, again={}, full={}, trials=outcome.trials[:1])
    assert alone.front == [alone.unmerged] and [row[0] for row in export(alone).rows] == ["trial-0000 (unmerged)"]
    merging = (0.0, 1.0, 1.0)  # the toy's first layer costs no accuracy
    better = Trial(99, merging, "model", str(merging), Toy().measure(MergePolicy(merging)).values)
    more = replace(outcome, again={}, full={}, trials=(*outcome.trials, better))
    found = again(more, OtherPictures(None))
    assert found.unmerged not in found.front and found.unmerged not in found.lasting
    told = export(found)
    assert [row[0] for row in told.rows] == [
        "trial-0000 (unmerged, not on the front)", *(trial.name for trial in found.front)
    ]  # fmt: skip
    assert "trial-0000" not in [row["policy"] for row in told.content["front"]]
    assert told.content["unmerged"]["policy"] == "trial-0000"
    assert found.again["trial-0000"] == told.content["other_pictures"]["unmerged"]
    assert "trial-0000" not in told.content["other_pictures"]["front"]
    assert f"of {len(found.front)} policies of the front" in lasting(found)
    assert render(found).count("trial-0000 (unmerged, not on the front)") == 3


def test_a_recommendation_says_on_how_many_pictures_it_rests_and_how_sure_its_accuracy_is(outcome):
    plain = replace(outcome, again={}, full={})
    for found, where in ((plain, "on 200 pictures, "), (again(plain, OtherPictures(None)), "on 50 other pictures, ")):
        for each in recommended(found):
            assert where + f"accuracy {each.trial.values['accuracy']:.2f} [" in each.reason
    sure = wilson(45, 50)
    ninety = replace(found, again={name: {**values, "accuracy": 0.9} for name, values in found.again.items()})
    assert f"accuracy 0.90 [{sure.low:.2f}, {sure.high:.2f}]" in recommended(ninety)[0].reason


def test_where_there_are_no_other_pictures_it_is_said(outcome):
    found = again(replace(outcome, again={}), None)
    assert NONE_LEFT in found.warnings and found.lasting == found.front


def test_the_full_suite_counts_more_than_the_score(folder, outcome):
    """It found less in one that the score ranks behind, and a third that it did not attack cannot be chosen."""
    outcome = replace(outcome, again={}, full={})
    able = sorted(accurate(outcome), key=lambda trial: trial.values["leakage"])
    first, second, third = able[0], able[1], able[2]
    full = {second.name: (0.7, 0.6, 0.8), third.name: (0.5, 0.4, 0.6)}
    (said,) = [r for r in recommended(replace(outcome, full=full)) if r.title == "privacy first"]
    assert said.trial == third and FULL_SUITE in said.reason
    assert f"{len(able) - 2} were not attacked" in said.reason
    (before,) = [r for r in recommended(outcome) if r.title == "privacy first"]
    assert before.trial == first and "ridge score" in before.reason
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(full=full, again={})
    picked = pick_policy(folder, at_least=["accuracy=0.5"], minimize="leakage")
    assert picked.trial.name == third.name and picked.values["leakage"] == 0.5
    assert "by the full suite" in picked.notes[0] and "were not attacked" in picked.notes[1]
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(full={})
    picked = pick_policy(folder, minimize="leakage")
    assert picked.notes == ["leakage by the ridge score"]
    assert picked.values["leakage"] == min(trial.values["leakage"] for trial in outcome.trials)


def measured_on_others(outcome, errors):
    """The front with the numbers that it has, and another accuracy by policy, whose error is 0.1 at 95%."""
    there = {trial.name: {**trial.values, "accuracy": errors.get(trial.name, 0.5)} for trial in outcome.front}
    return {
        "again": there,
        "again_noise": {name: {"accuracy": (0.1 / 1.96) ** 2} for name in there},
        "again_images": 50,
    }


def test_it_is_said_which_number_decided_and_where_chance_did(folder, outcome):
    best, second, third = (trial.name for trial in outcome.front[:3])
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(full={}, **measured_on_others(outcome, {best: 0.9, second: 0.76, third: 0.75}))
    picked = pick_policy(folder, maximize="accuracy")
    assert picked.trial.name == best and picked.decided == "accuracy 0.9 ± 0.1 on 50 other pictures"
    assert f"between it and {second}, whose accuracy differs by less than the error" in picked.notes[1], (
        "by 0.14 of 0.141"
    )
    row = next(row for row in export(Outcome.read(folder)).rows if row[0] == best)
    assert row[1].endswith(" (0.9 ± 0.1)") and "0.9 ± 0.1" in render(Outcome.read(folder))
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again_noise={})
    picked = pick_policy(folder, maximize="accuracy")
    assert picked.decided == "accuracy 0.9 on 50 other pictures" and len(picked.notes) == 1, "no error was written down"
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again={}, again_images=0)
    assert pick_policy(folder, maximize="accuracy").decided.endswith(" in the search")


def test_a_better_policy_that_misses_a_bound_by_less_than_the_error_is_named(folder, outcome):
    best, second, third = sorted(outcome.front, key=lambda trial: -trial.values["leakage"])[:3]
    with open_folder(folder, CONFIG, True, False) as store:
        there = measured_on_others(outcome, {best.name: 0.9, second.name: 0.76, third.name: 0.65})
        store.update(full={}, **there)
    picked = pick_policy(folder, at_least=["accuracy=0.8"], minimize="leakage")
    assert picked.trial.name == best.name
    assert f"{second.name} would be better, and misses a bound by less than the error" in picked.notes
    assert not any(
        "misses" in note for note in pick_policy(folder, at_least=["accuracy=0.8"], maximize="leakage").notes
    )
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again={}, again_noise={}, again_images=0)


def test_the_error_on_other_pictures_is_written_down(outcome):
    found = again(replace(outcome, again={}), OtherPictures(None))
    assert (
        found.again_noise.keys() == found.again.keys() and Outcome.read(found.folder).again_noise == found.again_noise
    )


def test_a_bound_is_kept_on_other_pictures(folder, outcome):
    best = max(outcome.front, key=lambda trial: trial.values["accuracy"])
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again={best.name: {**best.values, "accuracy": 0.1}}, again_images=50)
    picked = pick_policy(folder, at_least=["accuracy=0.5"], maximize="accuracy")
    assert picked.trial.name != best.name
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again={}, again_images=0)
    assert pick_policy(folder, at_least=["accuracy=0.5"], maximize="accuracy").trial.name == best.name


def test_a_price_compares_by_one_measurement(outcome):
    """By the suite where it attacked the policy that ignores privacy, else by the score for both."""
    plain = with_twin(replace(outcome, again={}, full={}))
    price = next(p for p in prices(plain) if p.minding is not p.ignoring)
    assert price.evidence.words == "the ridge score" and price.saved > 0
    full = {price.minding.name: (0.1, 0.0, 0.2)}
    same = next(p for p in prices(replace(plain, full=full)) if p.ignoring == price.ignoring)
    assert same.evidence.words == "the ridge score" and same.saved == price.saved
    full[price.ignoring.name] = (0.9, 0.8, 1.0)
    dear = next(p for p in prices(replace(plain, full=full)) if p.ignoring == price.ignoring)
    assert dear.evidence.words == FULL_SUITE and dear.leakage == (0.9, 0.1) and dear.minding == price.minding


def test_two_recommendations_of_one_policy_say_so(outcome):
    alone = replace(outcome, again={}, full={}, trials=outcome.trials[:1])
    first, *others = recommended(alone)
    assert len(others) == 2 and all(r.reason.startswith(f"the same policy as {first.title}: ") for r in others)
    assert "the same policy" not in first.reason


def test_that_no_suite_attacked_the_front_is_said_at_the_top(outcome):
    plain = replace(outcome, again={}, full={})
    assert any("no worst case" in line for line in plain.warnings)
    named = {plain.front[0].name: (0.5, 0.4, 0.6)}
    assert not any("no worst case" in line for line in replace(plain, full=named).warnings)


def test_other_pictures_resemble_none_that_the_search_saw_and_meet_the_same_system(victim, pictures):
    config = SearchConfig(victim=str(victim), data=str(pictures), images=8, defense="gaussian:0.3")
    seen = make_problem(config).setting
    other = unseen(seen, config)
    assert other is not None and len(other.data.victims) == len(other.answers.truth) >= 4
    assert apart(other.data.victims, seen.data.victims)[1] == 0
    assert other.victim is seen.victim and other.links is seen.links
    labels = other.victim.answers(other.data.victims).truth
    assert torch.equal(other.answers.truth, labels)


def test_pictures_that_a_probe_was_fitted_to_are_in_no_round_and_not_measured_again(victim, pictures):
    config = SearchConfig(victim=str(victim), data=str(pictures), images=10, head="probe")
    setting = make_problem(config).setting
    assert setting.taught and not setting.taught & set(setting.data.victims.hashes)
    other = unseen(setting, config)
    assert other is None or not setting.taught & set(other.data.victims.hashes)


def test_where_most_other_pictures_were_seen_none_are_taken(victim, pictures):
    config = SearchConfig(victim=str(victim), data=str(pictures), images=70)
    assert unseen(make_problem(config).setting, config) is None


def test_pick_compares_numbers_on_the_same_pictures(folder, outcome):
    """A policy off the front was not measured again, so what it had on the search's own pictures is no argument."""
    named = {trial.name: {**trial.values, "leakage": trial.values["leakage"] + 0.3} for trial in outcome.front}
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again=named, again_images=50, full={})
    picked = pick_policy(folder, minimize="leakage")
    assert picked.trial.name in named and picked.notes[1] == "leakage by the ridge score on other pictures"
    assert "50 pictures that the search never saw" in picked.notes[0]
    kept = replace(outcome, again=named).evidence(outcome.trials)
    assert kept.words == "the ridge score"
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(again={}, again_images=0)


def test_stopping_while_the_other_pictures_load_is_no_fault(outcome):
    def stopped():
        raise KeyboardInterrupt

    with open_folder(outcome.folder, CONFIG, True, False) as store:
        found = measured_again(replace(outcome, again={}), store, stopped, lambda line: None)
    assert found.stopped and not found.again
