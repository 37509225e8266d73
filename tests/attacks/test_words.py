"""Attacks on sentences: leaks of known size are found, and nothing is found where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, ThreatModel
from attacks import BASELINES, available
from attacks.alignment import Alignment
from attacks.base import permitted
from attacks.relaxed_words import RelaxedWords
from attacks.session import Campaign, Session
from attacks.training import Schedule
from attacks.word_decoder import WordDecoder
from attacks.word_ridge import WordRidge
from attacks.wordwise import Lexicon
from audit.planted import sentences as planted
from privacy_metrics.words import NO_WORD, in_place, rouge_l
from tests.texts import sentences, tiny_reader

SERVER = ThreatModel("server")
NO_MAP = PRESETS["server-no-map"]
POLICY = MergePolicy.uniform(1.0, 2)
DATA = planted.drawn(40, 400, 3)
SHORT = Schedule(rate=3e-3, batch=32, steps=300, every=100)


def score(make, tokens_of, threat=SERVER, data=DATA, **parameters):
    """ROUGE-L and words in place of what an attack makes of some victims."""
    session = Session(Link(planted.reading(tokens_of), POLICY), threat, data.hers)
    attack = session.fitted(make, **parameters)
    rebuilt = attack.reconstruct(session.victims(data.victims.inputs)[1])
    assert planted.SIGNAL.fault(rebuilt, len(rebuilt)) is None
    return rouge_l(rebuilt, data.victims.inputs).mean(), in_place(rebuilt, data.victims.inputs).mean()


def blind(data=DATA) -> float:
    return max(float(score(available()[name], planted.mute, data=data)[0]) for name in BASELINES["text"].constant)


def test_ridge_reads_every_word_through_a_secret_rotation():
    assert min(score(WordRidge, planted.turned)) > 0.95


def test_the_decoder_starts_from_ridge_and_is_not_behind_it():
    ours = score(WordDecoder, planted.turned, schedule=replace(SHORT, steps=20))
    assert min(ours) > 0.9


def test_without_the_map_the_decoder_learns_where_words_belong():
    """Tokens that tell their place beside their word, and whose order is all that the adversary lacks."""
    rebuilt, placed = score(WordDecoder, _numbered, NO_MAP, schedule=SHORT, width=64)
    assert min(rebuilt, placed) > 0.7


def _numbered(words):
    tokens = planted.said(words)
    place = torch.eye(planted.LONGEST + 1)[tokens.rank]
    return tokens.with_values(torch.cat([tokens.values[:, : planted.UNIT - place.shape[1]], place], 1))


@pytest.mark.parametrize("make", [WordRidge, WordDecoder])
@pytest.mark.parametrize("tokens_of", [planted.mute, planted.of_another], ids=["constant", "of another"])
def test_where_there_is_nothing_nothing_is_found(make, tokens_of):
    parameters = {"schedule": replace(SHORT, steps=40, every=20)} if make is WordDecoder else {}
    assert score(make, tokens_of, **parameters)[0] < blind() + 0.06


def test_retrieval_finds_the_sentence_that_she_has():
    twins = DATA.auxiliary.words[:40].clone()
    twins[:, 0] = torch.where(twins[:, 0] == 5, 6, 5)
    data = replace(DATA, victims=replace(DATA.victims, kept=twins, labels=DATA.victims.labels))
    found, _ = score(available()["nearest_sentence"], planted.turned, data=data)
    drawn, _ = score(available()["random_sentence"], planted.turned, data=data)
    assert found > 0.85 > 0.5 > drawn


def test_blind_baselines_read_no_token_and_retrieval_finds_nothing_in_constant_ones():
    for name in BASELINES["text"].constant:
        assert score(available()[name], planted.turned) == score(available()[name], planted.mute)


def test_the_common_answer_is_one_sentence_and_no_worse_than_the_commonest_word_alone():
    session = Session(Link(planted.reading(planted.mute), POLICY), SERVER, DATA.hers)
    answer = session.fitted(available()["common_words"]).reconstruct(session.victims(DATA.victims.inputs)[1])
    assert bool((answer == answer[0]).all()) and int((answer[0] != NO_WORD).sum()) > 1
    alone = torch.where(torch.arange(planted.LONGEST) == 0, 1, NO_WORD).expand_as(answer)
    assert rouge_l(answer, DATA.victims.inputs).mean() > rouge_l(alone, DATA.victims.inputs).mean()


def test_common_words_win_where_estimates_say_nothing_and_lose_where_they_are_sure():
    lexicon = Lexicon.of(planted.SIGNAL, DATA.auxiliary.rows)
    assert int(lexicon.common.argmax()) == int(lexicon.words(torch.zeros(1, planted.UNIT)))
    rare = int(lexicon.common.argmin())
    assert int(lexicon.words(planted.SIGNAL.table[rare : rare + 1])) == rare
    sure = lexicon.trusting(planted.SIGNAL.table[:50], torch.arange(50))
    assert sure.words(planted.SIGNAL.table[:50]).tolist() == list(range(50))


FEW = {WordDecoder: {"schedule": Schedule(steps=4, every=2)}, RelaxedWords: {"steps": 2, "rounds": 1, "tries": 2}}


@pytest.mark.parametrize("threat", PRESETS)
def test_every_attack_that_an_adversary_can_run_gives_sentences(threat, monkeypatch):
    """On a merging victim with random weights, over a noisy channel."""
    monkeypatch.setattr(Alignment, "QUICK", {"schedule": Schedule(steps=3, every=3)})
    if PRESETS[threat].shifted:
        pytest.skip("as the server, with other sentences")
    link = Link(tiny_reader(), MergePolicy.uniform(0.5, 3))
    session = Session(link, PRESETS[threat], sentences(60, 1), campaign=Campaign(quick=True))
    words = sentences(8, 2)
    _, seen, _ = session.victims(words)
    for name, attack in available().items():
        if attack.serves("text") and permitted(attack, session.threat) and not attack.needs_prior:
            parameters = FEW.get(attack, {})
            assert link.signal.fault(session.fitted(attack, **parameters).reconstruct(seen).cpu(), 8) is None, name
