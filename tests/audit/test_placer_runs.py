"""Runs with a placer: what they say of it, whom it serves, and what is refused rather than mixed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.store import StoredRun
from attacks.beginning import ELSEWHERE, GONE_ON, LEFT, UNFIT
from attacks.placer import Placer
from audit.evaluate import attack
from audit.setting import AttackConfig, prepare
from audit.train_placer import PlacerConfig, placer
from reports.judged import Judged
from reports.placers import handed, sentences
from reports.run import PLACERS, Run
from tests.audit.conftest import cli_metrics, parse
from tests.audit.test_on_ray import nodes  # noqa: F401, a cluster of two processors
from tests.sounds import folder, whisper
from tests.texts import save_transformers, write_tsv

GROUPS = r"/(p\d)_"


@pytest.fixture(scope="module", autouse=True)
def few_metrics():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privacy_metrics.registry.METRICS", cli_metrics())
        patch.setattr("audit.notes.METRICS", cli_metrics())
        yield


@pytest.fixture(scope="module")
def split(pictures, tmp_path_factory) -> Path:
    """Training pictures of the groups p0 to p3, and test pictures of p3 to p5."""
    root = tmp_path_factory.mktemp("split")
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        train = number % 10 < 7
        to = root / ("train" if train else "test") / path.parent.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to / f"p{number % 4 if train else 3 + number % 3}_{number}.png")
    return root


@pytest.fixture(scope="module")
def asked(victim, split):
    return {"victim": str(victim), "data": str(split), "codec": "uncoded", "channel": "awgn:20"}


def trained(asked, path, **more) -> Path:
    placer(PlacerConfig(**{**asked, "policy": "uniform-0.9", "steps": 5, "width": 16, **more}), path, lambda line: None)
    return path


@pytest.fixture(scope="module")
def file(asked, tmp_path_factory) -> Path:
    return trained(asked, tmp_path_factory.mktemp("placer") / "placer.safetensors")


@pytest.fixture(scope="module")
def ask(asked, file):
    def config(**more):
        few = {"images": 8, "auxiliary": 30, "quick": True, "budget": None, "threat": "server-shuffled",
               "policies": ("uniform-0.9",), "attacks": ("ridge", "position"), "placer": str(file)}  # fmt: skip
        return AttackConfig(**{**asked, **few, **more})

    return config


def earlier_exit(folder: Path) -> str:
    path = folder / "early.yaml"
    MergePolicy.uniform(0.9, 3, name="early", exit_layer=2).write(path)
    return str(path)


@pytest.fixture(scope="module")
def run(ask, tmp_path_factory) -> Run:
    root = tmp_path_factory.mktemp("run")
    return attack(ask(repeats=2, policies=("uniform-0.9", earlier_exit(root))), root / "run")


def test_a_run_says_of_each_policy_what_became_of_it(run):
    first, early = (handed(run)[policy] for policy in ("uniform-0.9", "early"))
    assert first.outcome in (GONE_ON, LEFT) and first.of == 2 and first.repeats in (1, 2)
    assert all(0 <= share <= 1 for share in (first.alone, first.given, first.placed))
    assert (early.outcome, early.alone, early.placed) == (ELSEWHERE, None, None)
    said = sentences(run)
    assert said[0].startswith(f"uniform-0.9: the placer was {first.outcome} in {first.repeats} of 2 repeats, since")
    assert f"{first.alone:.0%} by what her own taught her alone" in said[0]
    assert said[1].startswith("early: the placer was for another layer")
    learned = run.about["placer_learned_from"]  # all of hers, as both come from the training split
    assert learned == 3 and said[2].startswith(f"It learned from {learned} of her held-out pictures themselves")
    page, card = ((run.folder / name).read_text() for name in ("report.html", "card.json"))
    assert all(line in page for line in said)
    assert [each["placer"]["outcome"] for each in json.loads(card)["policies"]] == [first.outcome, ELSEWHERE]


def test_each_of_the_outputs_has_it(atm, run):
    for words in (("--format", "md"), ("--format", "csv")):
        code, out, err = atm("report", run.folder, *words)
        assert code == 0, err
    code, out, err = atm("report", run.folder, "--json")
    assert code == 0 and parse(out)["policies"][0]["placer"] == handed(run)["uniform-0.9"].as_dict(), err


def test_what_its_file_cannot_say_is_refused_in_one_line(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    copied = Run.read(tmp_path / "run")
    copied.placers[0]["placed"] = 7.0
    with pytest.raises(AtmError, match=r"placers\.jsonl"):
        Judged.of(copied)


def test_it_is_never_exchanged_within_a_run(ask, asked, run, file, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    other = trained(asked, tmp_path / "other.safetensors", seed=1)
    exits = ("uniform-0.9", run.about["config"]["policies"][1])
    with pytest.raises(AtmError, match="placer"):
        attack(ask(repeats=2, policies=exits, placer=str(other)), tmp_path / "run", resume=True)
    mine = tmp_path / "mine.safetensors"
    shutil.copy(other, mine)
    same = attack(ask(placer=str(mine), attacks=("ridge",)), tmp_path / "own")
    shutil.copy(file, mine)
    with pytest.raises(AtmError, match="placer is no longer what it was"):
        attack(ask(placer=str(mine), attacks=("ridge",)), same.folder, resume=True)
    with pytest.raises(AtmError, match="give the same --placer"):
        attack(ask(repeats=2, policies=exits, placer=str(other), replay=str(run.folder)), tmp_path / "again")
    assert StoredRun(tmp_path / "run", "attack").records(PLACERS) == run.placers or len(run.placers) == 4


def test_a_replay_comes_to_the_same(ask, run, tmp_path):
    exits = ("uniform-0.9", run.about["config"]["policies"][1])
    again = attack(ask(repeats=2, policies=exits, replay=str(run.folder)), tmp_path / "again")
    assert (run.folder / "scores.csv").read_bytes() == (again.folder / "scores.csv").read_bytes()
    assert again.placers == run.placers


@pytest.mark.parametrize(
    ("threat", "attacks", "outcomes"),
    [
        ("server-no-map", ("ridge",), (UNFIT,)),
        ("stranger", ("position",), (UNFIT,)),
        ("eavesdropper:awgn:10", ("position",), (UNFIT,)),  # who knows the sizes, too
        ("eavesdropper:awgn:10", ("ridge",), ()),
        ("black-box", ("nearest",), ()),
    ],
)
def test_whoever_has_no_use_for_it_is_attacked_with_all_the_same(ask, tmp_path, threat, attacks, outcomes):
    found = attack(ask(threat=threat, attacks=attacks), tmp_path / "run")
    assert found.finished
    (said,) = sentences(found)
    if outcomes:
        assert handed(found)["uniform-0.9"].outcome in outcomes
    else:
        assert not handed(found) and "no attack had to find out where tokens belong" in said


def test_on_a_cluster_it_comes_to_the_same(ask, nodes, tmp_path):  # noqa: F811
    runs = [attack(ask(), tmp_path / name, ray=ray) for name, ray in (("here", None), ("there", "local"))]
    assert runs[0].placers == runs[1].placers != []


def test_groups_that_are_attacked_are_left_out(ask, asked, split, file, tmp_path):
    with pytest.raises(AtmError, match="may have learned from pictures of attacked groups; train it with --group-by"):
        prepare(ask(group_by=GROUPS))
    apart = trained(asked, tmp_path / "apart.safetensors", group_by=GROUPS)
    read = Placer.read(apart)
    assert read.knows_groups(["p0", "p1", "p2"]) == 3 and read.knows_groups(["p3", "p4", "p5"]) == 0
    assert prepare(ask(group_by=GROUPS, placer=str(apart))).placer is not None
    with pytest.raises(AtmError, match="with another --group-by or none"):
        trained(asked, tmp_path / "more.safetensors", start=str(apart))
    elsewhere = tmp_path / "elsewhere" / "cat"
    elsewhere.mkdir(parents=True)
    shutil.copy(next((split / "test" / "cat").iterdir()), elsewhere / "p9_0.png")
    mixed = trained(asked, tmp_path / "mixed.safetensors", group_by=GROUPS, test_data=str(elsewhere.parent))
    with pytest.raises(AtmError, match="learned from 1 of the attacked groups"):
        prepare(ask(group_by=GROUPS, placer=str(mixed)))
    notes = [prepare(ask(placer=str(each))).about["data"]["notes"] for each in (file, mixed)]
    assert [any("not kept apart from near-duplicates" in line for line in each) for each in notes] == [False, True]


def test_whose_pictures_are_of_another_distribution_has_none_from_the_attacked_one(
    ask, asked, pictures, split, tmp_path
):
    hidden = tmp_path / "shifted.yaml"
    hidden.write_text("name: shifted\nshifted: true\nknows: [weights, codec, policy, snr, auxiliary]\n")
    others = {"threat": str(hidden), "auxiliary_data": "photos"}
    with pytest.raises(AtmError, match="pictures of another distribution alone"):
        prepare(ask(**others))
    own = trained(asked, tmp_path / "photos.safetensors", data="photos", images=60, test_data=str(split))
    assert prepare(ask(**others, placer=str(own))).placer is not None


def test_sentences_have_placers_too(tmp_path):
    save_transformers(tmp_path / "reader")
    (tmp_path / "texts").mkdir()
    write_tsv(tmp_path / "texts" / "train.tsv", 160, 1)
    write_tsv(tmp_path / "texts" / "dev.tsv", 40, 2)
    reader = {"victim": str(tmp_path / "reader"), "data": str(tmp_path / "texts"), "codec": "uncoded"}
    file = trained(reader, tmp_path / "placer.safetensors", policy="none")
    with pytest.raises(AtmError, match="--group-by reads groups from paths"):
        trained(reader, tmp_path / "groups.safetensors", group_by="x")
    _goes_on(reader, file, tmp_path, "none", "word_ridge", "words of sentences of hers")


def test_sounds_have_placers_too(tmp_path):
    whisper(tmp_path / "model")
    for number, path in enumerate(sorted(folder(tmp_path / "recordings", 90).iterdir())):
        to = tmp_path / "speech" / ("train" if number % 3 else "test") / "voices"
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to / path.name)
    speech = {"victim": str(tmp_path / "model"), "data": str(tmp_path / "speech"), "codec": "uncoded",
              "label_by": r"(\d)_s"}  # fmt: skip
    file = trained(speech, tmp_path / "placer.safetensors", policy="uniform-0.6")
    _goes_on(speech, file, tmp_path, "uniform-0.6", "ridge", "of sounds of hers")


def _goes_on(system, file, root, policy, name, said):
    found = attack(
        AttackConfig(**system, policies=(policy,), attacks=(name,), images=8, auxiliary=40, quick=True, budget=None,
                     threat="server-shuffled", placer=str(file)),
        root / "run",
    )  # fmt: skip
    assert found.finished and handed(found)[policy].outcome in (GONE_ON, LEFT)
    assert said in sentences(found)[0]
