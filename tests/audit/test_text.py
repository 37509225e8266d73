"""Sentences from the command line: attacked, judged, shown, compared and swept like pictures, or refused in a line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from audit.compare import CompareConfig, drop_of_equal_bandwidth, unmerged
from audit.setting import AttackConfig, prepare
from audit.sweep import SweepConfig
from reports.run import Run
from tests.texts import save_transformers, tokenizer, write_tsv

SIZE = ("--images", 20, "--auxiliary", 80, "--seed", 1)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reader")
    save_transformers(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_tsv(folder / "train.tsv", 160, 1)
    write_tsv(folder / "dev.tsv", 40, 2)
    with open(folder / "dev.tsv", "a", encoding="utf-8") as file:
        file.write("\teven\nw4 w5\teven\n")
    return folder


@pytest.fixture
def asked(reader, texts):
    return ("--victim", reader, "--data", texts, "--head", "probe", *SIZE)


def test_sentences_are_attacked_judged_and_shown(atm, asked, tmp_path):
    out = tmp_path / "run"
    code, printed, errors = atm(
        "attack", *asked, "--policy", "none", "--policy", "uniform-0.5", "--channel", "awgn:20", "--codec", "uncoded",
        "--attack", "word_ridge", "--attack", "nearest_sentence", "--attack", "identify", "--out", out,
    )  # fmt: skip
    assert code == 0, errors
    assert "skipped 1 sentence is empty" in errors and "fewer than 3 words" in errors
    assert "ROUGE-L" in printed and "SSIM" not in printed
    run = Run.read(out)
    assert run.finished and run.measure == "rouge_l" and run.about["signal"] == "text"
    assert run.attacks[:3] == ["common_words", "commonest_word", "random_sentence"] and set(run.about["metrics"]) == {
        "rouge_l", "in_place", "exact"
    }  # fmt: skip
    assert float(run.values("none", "word_ridge", "in_place").mean()) > 0.9
    assert run.worst_case("uniform-0.5").mean() < run.worst_case("none").mean()
    assert run.per_image("none", "tokens").mean() > run.per_image("uniform-0.5", "tokens").mean()
    stored = (out / "images" / "original" / "0000.txt").read_text(encoding="utf-8").split("\n")
    assert len(stored) >= 5 and all(word.startswith("w") for word in stored)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert '<p class="sentence"' in page and "<mark>w" in page and "<img" not in page
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert card["leakage_in"] == "ROUGE-L" and card["policies"][0]["verdict"] == "leaks"
    again = out / "images" / "none" / "word_ridge" / "0000.txt"
    again.unlink()
    assert atm("report", out)[0] == 0 and "missing" in (out / "report.html").read_text(encoding="utf-8")


def test_what_stands_in_a_sentence_is_escaped(atm, tmp_path):
    save_transformers(tmp_path / "victim")
    path = tmp_path / "victim" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"w5"', '"<b>w5"'), encoding="utf-8")
    write_tsv(tmp_path / "all.tsv", 120)
    lines = (tmp_path / "all.tsv").read_text(encoding="utf-8").replace("w5 ", "<b>w5 ")
    (tmp_path / "all.tsv").write_text(lines, encoding="utf-8")
    out = tmp_path / "run"
    code, _, errors = atm(
        "attack", "--victim", tmp_path / "victim", "--data", tmp_path / "all.tsv", *SIZE, "--policy", "none",
        "--channel", "noiseless", "--codec", "uncoded", "--attack", "word_ridge", "--out", out,
    )  # fmt: skip
    assert code == 0, errors
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;w5" in page and "<b>w5" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("attack", "--attack", "ridge"), "attack 'ridge' is not for sentences"),
        (("attack", "--attack", "rigde"), "unknown attack 'rigde'"),
        (("attack", "--image-size", "32"), "--image-size cannot be given"),
        (("attack", "--group-by", "folder"), "--group-by reads groups from paths"),
        (("attack", "--data", "photos"), "needs sentences as tsv, csv or txt"),
        (("search", "--score", "rigde"), "unknown privacy score 'rigde'"),
    ],
)
def test_what_cannot_be_done_with_sentences_is_refused_in_one_line(atm, asked, tmp_path, words, message):
    command, *options = words
    code, _, errors = atm(command, *asked, *options, "--out", tmp_path / "run")
    assert code == 2 and message in errors and errors.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def priors(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    config = transformers.LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("priors")
    for seed, name in enumerate(("one", "another")):
        torch.manual_seed(seed)
        transformers.LlamaForCausalLM(config).save_pretrained(folder / name)
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer(), bos_token="[CLS]", eos_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
        )
        fast.save_pretrained(folder / name)
    return folder


def test_a_run_goes_on_or_is_replayed_with_its_own_language_model_only(atm, asked, priors, tmp_path):
    prior = shutil.copytree(priors / "one", tmp_path / "prior")
    same = ("attack", *asked, "--policy", "none", "--codec", "uncoded", "--attack", "word_ridge", "--prior", prior)
    code, _, errors = atm(*same, "--out", tmp_path / "run")
    assert code == 0 and "--prior is a language model that none of these attacks uses" in errors
    assert len(Run.read(tmp_path / "run").about["prior"]) == 64
    shutil.copytree(priors / "another", prior, dirs_exist_ok=True)
    code, _, errors = atm(*same, "--out", tmp_path / "run", "--resume")
    assert code == 2 and "prior is no longer what it was" in errors.splitlines()[-1]
    code, _, errors = atm(*same, "--out", tmp_path / "again", "--replay", tmp_path / "run")
    assert code == 2 and "had another language model" in errors and not (tmp_path / "again").exists()


def test_attacks_on_words_are_not_for_pictures(atm, victim, pictures, tmp_path):
    code, _, errors = atm("attack", "--victim", victim, "--data", pictures, "--images", 5, "--auxiliary", 20,
                          "--attack", "word_ridge", "--out", tmp_path / "run")  # fmt: skip
    assert code == 2 and "'word_ridge' is not for pictures" in errors


def test_defences_of_sentences_are_compared(atm, asked, tmp_path):
    out = tmp_path / "compare"
    code, printed, errors = atm(
        "compare", *asked, "--policy", "uniform-0.5", "--attack", "word_ridge", "--defense", "quantize:4", "--codec",
        "uncoded", "--channel", "awgn:20", "--out", out,
    )  # fmt: skip
    assert code == 0, errors
    assert "leakage (ROUGE-L)" in printed and "SSIM" not in printed
    assert "#term-rouge-l" in (out / "compare.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "chosen"),
    [
        (CompareConfig, ["common_words", "commonest_word", "random_sentence", "word_ridge", "word_decoder"]),
        (SweepConfig, ["common_words", "commonest_word", "random_sentence", "word_ridge"]),
    ],
)
def test_attacks_are_by_default_those_of_what_the_victim_takes_in(reader, texts, make, chosen):
    config = make(victim=str(reader), data=str(texts), head="probe", images=20, auxiliary=80)
    assert prepare(config.attack()).attacks == chosen


def test_by_default_all_attacks_on_sentences_run_that_the_adversary_can(reader, texts):
    config = AttackConfig(victim=str(reader), data=str(texts), codec="uncoded", images=20, auxiliary=80)
    setting = prepare(config)
    assert {"word_ridge", "word_decoder", "relaxed_words", "nearest_sentence"} < {*setting.attacks}
    assert setting.about["left_out"] == [] and "rescored_words" not in setting.attacks
    unable = prepare(AttackConfig.of(config, threat="black-box"))
    assert "relaxed_words" not in unable.attacks and "word_decoder" in unable.attacks


def test_a_prior_is_for_sentences_and_is_looked_for_at_once(atm, asked, victim, pictures, tmp_path):
    out = ("--out", tmp_path / "run")
    code, _, errors = atm("attack", *asked, "--prior", tmp_path, *out)
    assert code == 2 and "holds no causal language model" in errors and errors.count("\n") == 1
    code, _, errors = atm("attack", *asked, "--attack", "rescored_words", *out)
    assert code == 2 and "give its folder as --prior" in errors
    code, _, errors = atm("attack", "--victim", victim, "--data", pictures, "--images", 5, "--auxiliary", 20,
                          "--prior", tmp_path, *out)  # fmt: skip
    assert code == 2 and "takes pictures" in errors and not (tmp_path / "run").exists()


def test_dropping_is_matched_over_sentences_of_every_length(reader, texts):
    """Whichever sentence comes first."""
    setting = prepare(
        AttackConfig(
            victim=str(reader), data=str(texts), policies=("uniform-0.2",), codec="uncoded", images=20, auxiliary=80
        )
    )
    (policy,) = setting.policies
    sentences = setting.data.victims.inputs
    dense, merged = (setting.link(each).transmit(sentences).sent for each in (unmerged(policy), policy))
    assert len({*dense.counts}) > 1
    dropped = drop_of_equal_bandwidth(setting, policy)
    left = sum((1 - dropped) * (count - dense.prefix) for count in dense.counts)
    assert left == pytest.approx(sum(merged.counts) - 20 * merged.prefix, abs=0.01)


def test_channels_of_sentences_are_swept(atm, asked, tmp_path):
    out = tmp_path / "sweep"
    code, _, errors = atm(
        "sweep", *asked, "--policy", "none", "--codec", "uncoded", "--snr", "0,20", "--out",
        out,
    )  # fmt: skip
    assert code == 0, errors
    points = [json.loads(line) for line in (out / "points.jsonl").read_text(encoding="utf-8").splitlines()]
    low, high = (sum(point["server"]) for point in points)
    page = (out / "sweep.html").read_text(encoding="utf-8")
    assert low < high and "ROUGE-L" in page
    assert "The attacks (word_ridge) were trained" in page and "20 sentences of" in page


def test_a_policy_is_calibrated_on_sentences(atm, reader, texts, tmp_path):
    out = tmp_path / "saves.yaml"
    code, _, errors = atm("calibrate", "0.2", "--victim", reader, "--data", texts, "--out", out)
    assert code == 0 and out.exists(), errors
