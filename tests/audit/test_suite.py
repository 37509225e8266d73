"""Which attacks run where none, a group of them, or some are named."""

from dataclasses import replace

import pytest

from atm.errors import AtmError, KnowledgeError
from atm.knowledge import Knowledge
from atm.threat import PRESETS
from attacks import BASELINES, available, inferences
from audit.listing import ASKED_FOR, listing
from audit.suite import ALL, STANDARD, choose_attacks, choose_inferences, left_out

SERVER = PRESETS["server"]
ONLY_ASKED = {name for name, attack in available().items() if not attack.standard}


@pytest.mark.parametrize("threat", PRESETS)
def test_the_suite_is_what_runs_where_none_is_named_and_all_adds_the_rest(threat):
    suite, everything = (choose_attacks(names, PRESETS[threat])[0] for names in ((), (ALL,)))
    assert suite == choose_attacks((STANDARD,), PRESETS[threat])[0]
    assert not ONLY_ASKED & {*suite} and {*BASELINES["image"].blind} <= {*suite}
    assert [name for name in everything if name not in ONLY_ASKED] == suite, "in the same order"
    inferred, denied = choose_inferences((), PRESETS[threat])
    assert not left_out([*suite, *inferred], PRESETS[threat])
    assert left_out(suite, PRESETS[threat]) == inferred and {*inferred, *denied} == {
        name for name, each in inferences().items() if each.serves("image")
    }


def test_all_runs_what_the_suite_leaves_out():
    assert {"deep_prior", "generative", "amortized"} <= {*choose_attacks((ALL,), SERVER)[0]}


def test_a_name_beside_a_group_joins_it_in_the_order_of_cost():
    suite, more = choose_attacks((), SERVER)[0], choose_attacks((STANDARD, "generative"), SERVER)[0]
    assert {*more} == {*suite, "generative"} and more.index("decoder") < more.index("generative")


def test_inferences_come_with_a_group_and_with_no_name_alone():
    assert choose_inferences((), SERVER) == choose_inferences((ALL,), SERVER) != ([], [])
    assert choose_inferences(("ridge",), SERVER) == ([], [])


@pytest.mark.parametrize("names", [("no-such",), (STANDARD, "no-such")])
def test_unknown_names_are_refused_beside_a_group_too(names):
    with pytest.raises(AtmError, match="no-such"):
        choose_attacks(names, SERVER)


def test_what_a_threat_denies_is_refused_by_name_and_told_of_a_group():
    with pytest.raises(KnowledgeError):
        choose_attacks((STANDARD, "optimization"), PRESETS["black-box"])
    chosen, denied = choose_attacks((), PRESETS["black-box"])
    assert "optimization" in denied and "optimization" not in chosen
    blind = replace(SERVER, knows=Knowledge.NOTHING)
    chosen, denied = choose_inferences((), blind)
    assert "identify" in denied and "identify" not in chosen and "identify" not in left_out([], blind)
    with pytest.raises(KnowledgeError):
        choose_inferences(("identify",), blind)


def test_what_needs_classes_is_not_missed_where_they_cannot_be_learned():
    chosen = [*choose_attacks((), SERVER)[0], *choose_inferences((), SERVER)[0]]
    chosen.remove("traffic")
    assert left_out(chosen, SERVER) == ["traffic"] and left_out(chosen, SERVER, labels=False) == []


def test_the_list_says_which_attacks_wait_to_be_asked_for():
    told = {name for name, about in listing("attacks") if about.endswith(ASKED_FOR)}
    assert told == ONLY_ASKED and not told & {*inferences()}


def test_attacks_for_pictures_of_another_kind_are_refused_by_that_kind():
    with pytest.raises(AtmError, match=r"'ask' is not for pictures of the kind 'image'.*but for asked-image;"):
        choose_attacks(("ask",), PRESETS["server"], "image")
