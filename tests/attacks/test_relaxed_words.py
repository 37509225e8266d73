"""White-box descent between words: what merging leaves is found again, and nothing where nothing arrives."""

from __future__ import annotations

import pytest
import torch

from atm import channels
from atm.errors import KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS
from attacks.alignment import Alignment
from attacks.guided import Guided
from attacks.relaxed_words import RelaxedWords
from attacks.session import Campaign, Session
from attacks.training import Schedule
from attacks.word_decoder import WordDecoder
from attacks.word_ridge import WordRidge
from privacy_metrics.words import in_place
from tests.texts import sentences, tiny_reader

SEARCH = {"steps": 12, "every": 4, "rounds": 24, "tries": 6, "count": 56}
VICTIMS = sentences(10, 2)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(WordDecoder, "QUICK", {"schedule": Schedule(steps=20, every=10)})
    monkeypatch.setattr(Alignment, "QUICK", {"schedule": Schedule(rate=3e-3, steps=60, every=20)})


def session(policy: MergePolicy, threat: str = "server", channel: str = "noiseless", hers: int = 60) -> Session:
    link = Link(tiny_reader(), policy, channel=channels.parse(channel))
    return Session(link, PRESETS[threat], sentences(hers, 1), campaign=Campaign(quick=True))


POLICIES = [
    MergePolicy.uniform(0.5, 3),
    MergePolicy.uniform(0.3, 3, exit_layer=2),
    MergePolicy.fixed_ratio(2, 3),
    MergePolicy.uniform(0.4, 3, average="size", proportional_attention=True, similarity="size-aware"),
]


@pytest.mark.parametrize("policy", POLICIES, ids=["threshold", "early exit", "fixed", "size-aware"])
def test_the_sentence_that_was_sent_fits_exactly_and_others_do_not(policy):
    """Merging along the map repeats what the device did, whatever its rules; also of embeddings in place of words."""
    attacked = session(policy)
    sent, seen, _ = attacked.victims(VICTIMS)
    assert sum(sent.sent.counts) < sum(int((row >= 0).sum()) + 2 for row in VICTIMS), "something merged"
    likelihood = Guided(attacked.oracle())
    target = likelihood.target(seen)
    embedded = tiny_reader().embeddings[VICTIMS.clamp_min(0)] * (VICTIMS >= 0)[..., None]
    for candidate in (VICTIMS, embedded):
        assert float(likelihood(candidate, target).max()) < 1e-3
    other = VICTIMS.clone()
    other[:, 0] = torch.where(other[:, 0] == 9, 10, 9)
    assert float(likelihood(other, target).min()) > 1


def test_merged_words_are_found_that_neither_closed_form_nor_decoder_finds():
    attacked = session(MergePolicy.uniform(0.5, 3))
    _, seen, _ = attacked.victims(VICTIMS)
    scores = {
        make.name: float(in_place(attacked.fitted(make, **options).reconstruct(seen), VICTIMS).mean())
        for make, options in ((WordRidge, {}), (WordDecoder, {}), (RelaxedWords, SEARCH))
    }
    assert scores["relaxed_words"] > max(scores["word_ridge"], scores["word_decoder"]) + 0.1, scores


def test_where_noise_hides_everything_nothing_is_found():
    attacked = session(MergePolicy.uniform(0.5, 3), channel="awgn:-40")
    _, seen, _ = attacked.victims(VICTIMS)
    fitted = attacked.fitted(RelaxedWords, **{**SEARCH, "rounds": 4})
    found = float(in_place(fitted.reconstruct(seen), VICTIMS).mean())
    blind = float(in_place(torch.full_like(VICTIMS, 4), VICTIMS).mean())
    assert found < blind + 0.1


def test_a_hidden_map_is_recovered_first():
    attacked = session(MergePolicy.uniform(0.6, 3), "server-no-map", hers=120)
    _, seen, true = attacked.victims(VICTIMS)
    assert seen.tokens.source is None
    ridge = attacked.fitted(WordRidge)
    found = ridge.complete(seen).tokens.source
    assert float((found == true).float().mean()) > 0.9, "places without a word included"
    told = session(MergePolicy.uniform(0.6, 3), hers=120)
    known = told.fitted(WordRidge).reconstruct(told.victims(VICTIMS)[1])
    hidden = ridge.reconstruct(seen)
    assert abs(float(in_place(hidden, VICTIMS).mean()) - float(in_place(known, VICTIMS).mean())) < 0.1


def test_the_same_seed_gives_the_same_words():
    answers = []
    for _ in range(2):
        attacked = session(MergePolicy.uniform(0.5, 3))
        fitted = attacked.fitted(RelaxedWords, **{**SEARCH, "rounds": 2, "steps": 4})
        answers.append(fitted.reconstruct(attacked.victims(VICTIMS)[1]))
        assert len(fitted.history.train) in (0, 6)
    assert torch.equal(*answers)


def test_who_holds_no_weights_cannot_descend():
    with pytest.raises(KnowledgeError, match="'relaxed_words' needs"):
        session(MergePolicy.uniform(0.5, 3), "black-box").fitted(RelaxedWords)
