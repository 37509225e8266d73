"""Questions about pictures from the command line: a projector is trained, the victim attacked, asked and judged."""

from __future__ import annotations

import json
import shlex

import pytest
import torch

from atm.data.kinds import source
from atm.signals import AskedSignal
from atm.victims import load_victim
from attacks.base import Inferred, Inquiry
from attacks.describe import REQUEST
from audit import harm
from audit.train_projector import ProjectorConfig
from reports.harm import rates
from reports.run import Run
from reports.verdict import judge
from tests.questions import PROMPT, save_language, save_llava, write_questions

TOWER = ("--victim", "test_vit", "--image-size", "32")
TRAINED = ("--steps", 60, "--batch", 16, "--rate", 0.01, "--images", 120, "--test-images", 40, "--prompt", PROMPT)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    write_questions(folder, 40, "test")
    write_questions(folder, 120, "train", first=40)
    with open(folder / "test" / "more.csv", "w", encoding="utf-8") as file:
        file.write("question,answer,image\nwhat is it,red,none.png\n")
    return folder


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    save_language(folder)
    return folder


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tower") / "tower.safetensors"
    save_file(timm.create_model("test_vit", img_size=32, num_classes=0).state_dict(), path)
    return path


@pytest.fixture
def train(atm, asked, language, tower):
    def run(out, *options):
        return atm("train", "projector", *TOWER, "--weights", tower, "--lm", language, "--data", asked, *TRAINED,
                   "--out", out, *options)  # fmt: skip

    return run


def test_a_projector_is_trained_and_its_victim_attacked_asked_and_judged(atm, train, asked, tmp_path):
    code, printed, errors = train(tmp_path / "made", "--json")
    assert code == 0, errors
    assert "skipped 1 question is about a picture that is not there" in errors
    told = json.loads(printed)
    assert told["accuracy"] > told["floor"] + 0.1 and 0 <= told["exact"] <= told["accuracy"] + 1e-9
    card = (tmp_path / "made" / "card.md").read_text(encoding="utf-8")
    assert "atm train projector --victim test_vit" in card and str(tmp_path) not in card

    out = tmp_path / "run"
    code, _, errors = atm(
        "attack", "--victim", tmp_path / "made", "--data", asked, "--policy", "none", "--policy", "uniform-0.9",
        "--images", 40, "--auxiliary", 100, "--channel", "noiseless", "--attack", "ridge", "--attack", "ask",
        "--attack", "describe", "--attack", "identify", "--quick", "--out", out,
    )  # fmt: skip
    assert code == 0, errors
    run = Run.read(out)
    assert run.finished and run.about["signal"] == "asked-image" and run.about["task"] == "accuracy"
    assert any("one question a picture" in note for note in run.about["data"]["notes"])
    victim = load_victim(str(tmp_path / "made"))
    data = source(victim.encoder.signal).splits(victim.encoder.signal, str(asked), victims=40, auxiliary=100)
    assert run.per_image("none", "label").long().tolist() == data.victims.labels.tolist()
    assert float(run.per_image("none", "correct").mean()) > told["floor"] + 0.1
    known = {(rate.policy, rate.metric): rate for rate in rates(run)}
    answered = known["none", "answer_correct"]
    assert answered.rate.estimate > answered.chance and 0.2 < answered.chance < 0.8
    assert ("none", "caption_correct") in known and ("none", "rank_1") in known
    assert "questions" in {finding.about for finding in judge(run, "none").findings}
    assert run.per_image("uniform-0.9", "gflops").mean() <= run.per_image("none", "gflops").mean()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "a question of hers answered right" in page and "data:image/png" in page


def test_a_caption_gives_away_what_the_model_has_learned_to_describe(atm, language, tower, tmp_path):
    """The planted leak of `describe`: a model that was taught to say the colour where it is asked for a description."""
    data = tmp_path / "data"
    write_questions(data, 40, "test")
    write_questions(data, 120, "train", first=40)
    for split in ("test", "train"):
        rows = json.loads((data / split / "questions.json").read_text(encoding="utf-8"))
        told = [[REQUEST, *row[1:]] for row in rows if row[0].startswith("what")]
        (data / split / "questions.json").write_text(json.dumps(told), encoding="utf-8")
    code, _, errors = atm("train", "projector", *TOWER, "--weights", tower, "--lm", language, "--data", data, *TRAINED,
                          "--out", tmp_path / "made")  # fmt: skip
    assert code == 0, errors
    code, _, errors = atm(
        "attack", "--victim", tmp_path / "made", "--data", data, "--policy", "none", "--images", 40, "--auxiliary", 60,
        "--channel", "noiseless", "--attack", "describe", "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, errors
    (told,) = (rate for rate in rates(Run.read(tmp_path / "run")) if rate.metric == "caption_correct")
    assert told.rate.estimate > told.chance + 0.1, (told.rate.estimate, told.chance)


@pytest.mark.parametrize("layers", [0, -1])
def test_a_tower_of_no_layers_is_refused(train, tmp_path, layers):
    code, _, errors = train(tmp_path / "out", f"--layers={layers}")
    assert code == 2 and f"--layers {layers} must be 1 or more" in errors and not (tmp_path / "out").exists()
    assert (
        ProjectorConfig("v", "l", "d").parts(5).layers == 4
        and ProjectorConfig("v", "l", "d", layers=2).parts(5).layers == 2
    )


@pytest.mark.parametrize("prompt", ["it's $HOME `ls` {question}", 'say "{question}"\nnow', "é{question}"])
def test_the_command_of_a_training_gives_a_shell_the_same_prompt(prompt):
    words = shlex.split(ProjectorConfig("v", "l", "d", prompt=prompt).command())
    assert words[words.index("--prompt") + 1] == prompt


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(train, tmp_path, monkeypatch):
    from atm.projector_training import ProjectorTraining

    code, whole, errors = train(tmp_path / "whole", "--steps", 30, "--json")
    assert code == 0, errors
    steps = ProjectorTraining.steps

    def stopped(self):
        for loss in steps(self):
            yield loss
            if self.step == 27:
                raise KeyboardInterrupt

    monkeypatch.setattr(ProjectorTraining, "steps", stopped)
    assert train(tmp_path / "half", "--steps", 30)[0] == 130
    monkeypatch.setattr(ProjectorTraining, "steps", steps)
    assert train(tmp_path / "half", "--steps", 30)[0] == 2
    taken = list[float]()
    monkeypatch.setattr(ProjectorTraining, "steps", lambda self: (taken.append(loss) or loss for loss in steps(self)))
    code, rest, errors = train(tmp_path / "half", "--steps", 30, "--resume", "--json")
    assert code == 0 and len(taken) == 5, errors  # the last checkpoint is of step 25
    one, other = (load_victim(str(tmp_path / name)) for name in ("whole", "half"))
    assert one.digest == other.digest
    assert {**json.loads(whole), "victim": ""} == {**json.loads(rest), "victim": ""}


def test_a_folder_whose_parts_changed_or_moved_is_refused_in_one_line(train, language, tmp_path, atm, asked):
    assert train(tmp_path / "made", "--steps", 1)[0] == 0
    path = tmp_path / "made" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))

    def refused(change, words):
        path.write_text(json.dumps({**config, **change}), encoding="utf-8")
        code, _, errors = atm("attack", "--victim", tmp_path / "made", "--data", asked, "--out", tmp_path / "run")
        assert code == 2 and words in errors and "Traceback" not in errors, errors

    refused({"language": str(tmp_path / "gone")}, "language model")
    refused({"weights": "gone.safetensors"}, "gone.safetensors")
    refused({"layers": 1}, "was trained for another tower")
    refused({"extra": 1}, "unknown field 'extra'")
    other = tmp_path / "other"
    model = save_language(other)
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    model.save_pretrained(other)
    refused({"language": str(other)}, "was trained for another language")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", 0), "must be 1 or more"),
        (("--lm", "nothing"), "is no folder and no hub name"),
        (("--victim", "no_such_vit"), "unknown victim"),
        (("--layers", 99), "layer 99 is not in"),
        (("--prompt", "{question}"), "must have <image>"),
        (("--data", "nothing"), "is no folder or tar"),
    ],
)
def test_bad_options_are_refused_in_one_line(train, tmp_path, options, words):
    code, printed, errors = train(tmp_path / "made", *options)
    assert code == 2 and words in errors and not printed, errors
    assert not (tmp_path / "made").exists()


def test_llava_is_attacked_from_its_folder_and_refuses_what_it_cannot_do(atm, asked, tmp_path):
    save_llava(tmp_path / "llava")
    victim = ("--victim", tmp_path / "llava")
    few = ("--policy", "uniform-0.5", "--images", 6, "--auxiliary", 40, "--attack", "ridge", "--channel", "noiseless")
    code, _, errors = atm("attack", *victim, "--data", asked, *few, "--out", tmp_path / "run")
    assert code == 0, errors
    assert set(Run.read(tmp_path / "run").per_image("uniform-0.5", "correct").tolist()) <= {0.0, 1.0}
    code, _, errors = atm("train", "merging", *victim, "--data", asked, "--out", tmp_path / "m")
    assert code == 2 and "answers questions" in errors
    code, _, errors = atm("attack", *victim, "--data", "photos", "--out", tmp_path / "p")
    assert code == 2 and "needs pictures with questions" in errors
    code, _, errors = atm("attack", *victim, "--data", asked, "--attack", "word_ridge", "--out", tmp_path / "w")
    assert code == 2 and "is not for pictures" in errors


class Says(Inquiry):
    """Gives what it was made with."""

    name = "says"

    def __init__(self, found):
        self.found = found

    def fit(self, oracle):
        """Nothing."""

    def ask(self, seen, questions, answers):
        return self.found


def test_answers_and_captions_are_scored_beside_what_nobody_needs_tokens_for(asked):
    signal = AskedSignal((3, 32, 32), (4, 4))
    data = source(signal).splits(signal, str(asked), victims=40, auxiliary=100)
    private, classes = data.victims.private, data.victims.classes
    right = torch.tensor([classes.index(each.answer) for each in private])
    colours = tuple(next(iter(words)) for words in data.victims.named)
    scores = harm.inquired(Says(Inferred(answers=right, captions=colours)), data, None)
    assert bool((scores["answer_correct"] == 1).all()) and bool((scores["caption_correct"] == 1).all())
    same = [sum(other == mine for other in colours) - 1 for mine in colours]
    assert torch.allclose(scores["caption_correct_blindly"], torch.tensor(same) / 39)
    no = classes.index("no")
    blind = scores["answer_correct_blindly"]
    for each, hit in zip(private, blind.tolist(), strict=True):
        if each.text == "is it red ?":  # three quarters of all pictures are not
            assert hit == (each.answer == "no")
    scores = harm.inquired(Says(Inferred(answers=torch.full((40,), no), captions=("",) * 40)), data, None)
    assert int(scores["answer_correct"].sum()) == sum(each.answer == "no" for each in private)
    assert float(scores["caption_correct"].sum()) == 0
    with pytest.raises(Exception, match="neither answers"):
        harm.inquired(Says(Inferred()), data, None)


def test_pictures_that_put_nothing_to_the_test_have_no_score(asked, tmp_path):
    """Neither those whose only question is the server's, nor captions of those whose answers name nothing."""
    signal, folder = AskedSignal((3, 32, 32), (4, 4)), tmp_path / "plain"
    for split, first, count in (("test", 0, 12), ("train", 12, 40)):
        write_questions(folder, count, split, first=first)
        rows = [["is it red ?", "no" if number % 4 else "yes", number] for number in range(first, first + count)]
        rows += [["what colour is it ?", "red", number] for number in range(first, first + count, 4)]
        (folder / split / "questions.json").write_text(json.dumps(rows), encoding="utf-8")
    data = source(signal).splits(signal, str(folder), victims=12, auxiliary=40)
    two = torch.tensor([len(each) == 2 for each in data.victims.asked])
    assert int(two.sum()) == 3 and [each is not None for each in data.victims.private] == two.tolist()
    says = Says(Inferred(answers=torch.zeros(12, dtype=torch.long), captions=("red",) * 12))
    scores = harm.inquired(says, data, None)
    assert len(scores) == 4
    for metric, values in scores.items():
        assert torch.equal(values.isnan(), ~two), metric
    assert bool((scores["caption_correct"][two] == 1).all())


def test_scores_of_no_picture_are_stored_and_make_a_run_complete(tmp_path):
    from audit.folder import RunFolder

    with RunFolder(tmp_path / "run", {}) as folder:
        folder.describe({"policies": [{"name": "none"}]})
        metrics = ("caption_correct", "caption_correct_blindly")
        folder.add_scores("none", "describe", {metric: torch.full((4,), torch.nan) for metric in metrics}, None)
    run = Run.read(tmp_path / "run")
    assert set(run.scores.attack) == {"describe"} and bool(run.repeated("none", "describe", metrics[0]).isnan().all())
