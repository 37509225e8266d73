"""The cheap score of sentences against the attack that it stands for, and a search from end to end."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, ThreatModel
from attacks import BASELINES, available
from attacks.session import Session
from attacks.word_ridge import WordRidge
from attacks.wordwise import TRUSTS, Lexicon
from audit.pareto.outcome import Outcome
from audit.pareto.privacy import CrossFittedWordRidge, create_score
from audit.planted import sentences as planted
from privacy_metrics.words import NO_WORD, rouge_l
from tests.texts import save_transformers, sentences, tiny_reader, write_tsv

SERVER = ThreatModel("server")
BLIND = ThreatModel("blind").without_knowledge(Knowledge.ORDER | Knowledge.SIZES | Knowledge.WEIGHTS)
POLICY = MergePolicy.uniform(1.0, 2)
DATA = planted.drawn(120, 400, 3)
WORDS = DATA.victims.inputs


def prepared(link, words=WORDS, threat=SERVER):
    score = create_score("ridge")(link.signal)
    assert isinstance(score, CrossFittedWordRidge)
    score.prepare(link, threat, words)
    return score


def leakage(tokens_of, threat=SERVER, words=WORDS):
    link = Link(planted.reading(tokens_of), POLICY)
    return float(prepared(link, words, threat).score(link, link.transmit(words, 1), 3).mean())


def test_what_the_attack_reads_the_score_reads_and_what_hides_it_hides():
    assert leakage(planted.turned) > 0.9
    session = Session(Link(planted.reading(planted.mute), POLICY), SERVER, DATA.hers)
    floor = max(
        float(rouge_l(session.fitted(available()[name]).reconstruct(session.victims(WORDS)[1]), WORDS).mean())
        for name in BASELINES["text"].constant
    )
    assert leakage(planted.mute) < floor + 0.06 and leakage(planted.of_another) < floor + 0.06


def test_it_ranks_policies_as_the_attack_with_its_own_sentences_does():
    link, words, own = Link(tiny_reader(), MergePolicy.uniform(1.0, 3)), sentences(80), sentences(300, 1)
    score, cheap, dear = prepared(link, words), [], []
    for threshold in (1.0, 0.95, 0.9, 0.8, 0.6, 0.4, 0.0):
        system = link.with_policy(MergePolicy.uniform(threshold, 3))
        sent = system.transmit(words)
        cheap.append(float(score.score(system, sent).mean()))
        attack = Session(system, SERVER, own).fitted(WordRidge)
        dear.append(float(rouge_l(attack.reconstruct(SERVER.observe(sent, system)), words).mean()))
    assert spearmanr(cheap, dear).statistic > 0.85 and max(cheap) - min(cheap) > 0.2


def test_no_sentence_takes_part_in_its_own_reconstruction():
    """Where its words are others, its fold is told what it was, and the other folds are not."""
    link, words = Link(tiny_reader(), MergePolicy.uniform(0.8, 3)), sentences(24)
    seen = SERVER.observe(link.transmit(words), link)
    before = prepared(link, words)
    changed = words.clone()
    changed[3] = torch.where(words[3] == NO_WORD, NO_WORD, 59)
    after = prepared(link, changed)
    there = words != NO_WORD
    units = [each._by_word(torch.randn(24, 12, 7, generator=torch.Generator().manual_seed(0)), there)
             for each in (before, after)]  # fmt: skip
    moved = (units[0] - units[1]).abs().flatten(1).amax(1)
    own = next(rows for rows in before.folds if 3 in rows)
    others = [row for row in range(24) if row not in own]
    assert moved[own[own != 3]].max() < 1e-4 and moved[others].min() > 1e-4
    assert before.reconstruct(seen).shape == words.shape


@pytest.mark.parametrize("threat", [*PRESETS, "blind"])
def test_every_adversary_has_a_score_and_who_knows_less_has_no_higher_one(threat):
    link, words = Link(tiny_reader(), MergePolicy.uniform(0.7, 3)), sentences(60)
    found = prepared(link, words, PRESETS.get(threat, BLIND)).score(link, link.transmit(words, 1), 3)
    best = prepared(link, words, PRESETS["before-codec"]).score(link, link.transmit(words, 1), 3)
    assert 0 <= found.mean() <= best.mean() + 0.02 and len(found) == 60


def test_hidden_places_are_no_privacy_where_tokens_tell_them():
    assert leakage(planted.said, PRESETS["server-no-map"]) > leakage(planted.said, BLIND) + 0.1


def test_each_trust_gives_the_words_that_it_alone_would():
    lexicon = Lexicon.of(planted.SIGNAL, DATA.auxiliary.rows)
    units = torch.randn(40, planted.UNIT, generator=torch.Generator().manual_seed(0))
    for trust, words in zip(TRUSTS, lexicon.under_each(units), strict=True):
        assert torch.equal(words, lexicon.words(units, trust))
    assert lexicon.under_each(units[:0]).shape == (len(TRUSTS), 0)


def test_policies_for_sentences_are_searched_recommended_and_picked(atm, tmp_path):
    save_transformers(tmp_path / "reader")
    write_tsv(tmp_path / "train.tsv", 160, 1)
    write_tsv(tmp_path / "dev.tsv", 80, 2)
    out = tmp_path / "search"
    code, printed, errors = atm(
        "search", "--victim", tmp_path / "reader", "--data", tmp_path, "--head", "probe", "--codec", "uncoded",
        "--channel", "awgn:20", "--images", 30, "--auxiliary", 60, "--evals", 8, "--lowest", 0.0,
        "--no-rescore", "--out", out, "--json",
    )  # fmt: skip
    assert code == 0, errors
    found = Outcome.read(out)
    assert found.noun == "sentence" and found.heading(found.objectives[-1]) == "leakage (ROUGE-L)"
    assert len(found.trials) == 8 and not found.failures and found.again
    leaked = {trial.name: trial.values["leakage"] for trial in found.trials}
    assert 0 < min(leaked.values()) < max(leaked.values()) <= 1
    assert set(json.loads(printed)["recommended"]) == {"privacy first", "balanced", "efficiency first"}
    page = _told((out / "report.html").read_text(encoding="utf-8"))
    assert "leakage (ROUGE-L)" in page and "sentences that the search never saw" in page
    assert "SSIM" not in page and "picture" not in page
    code, printed, errors = atm("pick", out, "--minimize", "leakage", "--json")
    assert code == 0, errors
    picked = json.loads(printed)
    assert picked["leakage"] == min(found.again[trial.name]["leakage"] for trial in found.front)
    assert "leakage by the ridge score on other sentences" in picked["notes"]
    assert set(pd.read_csv(out / "front.csv").policy) == {trial.name for trial in found.front}


def _told(page: str) -> str:
    """A page without its scripts and the explanations of words, which speak of all kinds of signal."""
    return re.sub(r'<script>.*?</script>|<style>.*?</style>|data-tip="[^"]*"|<dl.*?</dl>', "", page, flags=re.S)
