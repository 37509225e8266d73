"""A language model's prior: it settles what tokens leave open, and is not believed where it knows nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from atm.errors import AtmError
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks.budget import Budget
from attacks.language import LanguageModel
from attacks.rescored_words import RescoredWords
from attacks.session import Campaign, Session
from attacks.training import Schedule
from attacks.word_decoder import WordDecoder
from attacks.word_ridge import WordRidge
from audit.planted import sentences as planted
from audit.suite import choose_attacks
from privacy_metrics.words import NO_WORD, in_place
from tests.texts import tokenizer

HALF = planted.WORDS // 2
SERVER = ThreatModel("server")


@dataclass(frozen=True)
class Alternating:
    """Sentences in which an even word follows an odd one, and an odd one an even one."""

    strength: float

    def log_likelihood(self, sentences):
        scores = []
        for sentence in sentences:
            parities = [int(word[1:]) % 2 for word in sentence.split()]
            scores.append(self.strength * sum(a != b for a, b in pairwise(parities)))
        return torch.tensor(scores, dtype=torch.float64)


def alternating(count: int, seed: int):
    """Sentences of that language."""
    random = torch.Generator().manual_seed(seed)
    halves = torch.randint(HALF, (count, planted.LONGEST), generator=random)
    first = torch.randint(2, (count, 1), generator=random)
    words = 2 * halves + (first + torch.arange(planted.LONGEST)) % 2
    lengths = torch.randint(planted.SHORTEST, planted.LONGEST + 1, (count, 1), generator=random)
    return words.masked_fill(torch.arange(planted.LONGEST) >= lengths, NO_WORD)


def paired(words):
    """Tokens that tell all of every third word, and of the others everything but whether it is even or odd."""
    certain = (torch.arange(planted.LONGEST) % 3 == 0) | (words == NO_WORD)
    other = torch.where(words % 2 == 0, words + 1, words - 1)
    units = planted.SIGNAL.to_units(words)
    mean = (units + planted.SIGNAL.to_units(other.where(words != NO_WORD, words))) / 2
    return planted._wordwise(words, torch.where(certain[..., None], units, mean))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(WordDecoder, "QUICK", {"schedule": Schedule(steps=2, every=1)})


def scores(prior):
    link = Link(planted.reading(paired), MergePolicy.uniform(1.0, 2))
    session = Session(link, SERVER, alternating(300, 1), campaign=Campaign(quick=True, prior=prior))
    victims = alternating(20, 2)
    seen = session.victims(victims)[1]
    fitted = session.fitted(RescoredWords, places=12, rounds=2)
    before = in_place(session.fitted(WordRidge).reconstruct(seen), victims).mean()
    return fitted.weight, float(before), float(in_place(fitted.reconstruct(seen), victims).mean())


def test_what_tokens_leave_open_the_language_settles():
    weight, before, after = scores(Alternating(4.0))
    assert weight > 0 and before < 0.8 and after > before + 0.15


@pytest.mark.parametrize("affordable", [2, 12])
def test_doubtful_words_that_there_was_no_time_for_are_recorded(monkeypatch, affordable):
    monkeypatch.setattr(Budget, "steps", lambda self, loop, most, trial, times=1: min(most, affordable))
    link = Link(planted.reading(paired), MergePolicy.uniform(1.0, 2))
    session = Session(link, SERVER, alternating(300, 1), campaign=Campaign(quick=True, prior=Alternating(4.0)))
    fitted = session.fitted(RescoredWords, places=12, rounds=1)
    fitted.reconstruct(session.victims(alternating(3, 2))[1])
    assert fitted.weight > 0 and fitted.history.cut == (affordable < 12)


@pytest.mark.parametrize("strength", [0.0, -4.0], ids=["knows nothing", "is wrong"])
def test_a_model_that_is_of_no_help_is_not_believed(strength):
    weight, before, after = scores(Alternating(strength))
    assert weight == 0 and after >= before - 0.02


def test_it_runs_where_a_model_is_given_and_is_asked_for_by_name_in_vain_elsewhere():
    assert "rescored_words" not in choose_attacks((), SERVER, "text")[0]
    assert "rescored_words" in choose_attacks((), SERVER, "text", prior=True)[0]
    with pytest.raises(AtmError, match="--prior"):
        choose_attacks(("rescored_words",), SERVER, "text")
    assert Knowledge.WEIGHTS not in RescoredWords.needs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    path = tmp_path_factory.mktemp("language")
    config = transformers.LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), bos_token="[CLS]", eos_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )
    fast.save_pretrained(path)
    return path


def test_likelihoods_are_those_of_sentences_alone(folder):
    """Whatever stands beside them, and summed word by word."""
    model, sentences = LanguageModel.read(str(folder)), ["w5 w6 w7", "w9", "w10 w11 w12 w13 w14"]
    found = model.log_likelihood(sentences)
    for sentence, together in zip(sentences, found, strict=True):
        ids = [2, *(int(word[1:]) for word in sentence.split())]
        logits = model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        alone = sum(float(logits[at, word]) for at, word in enumerate(ids[1:]))
        assert alone == pytest.approx(float(together), abs=1e-4)
    assert model.log_likelihood([]).shape == (0,)


def test_a_tokenizer_that_cannot_begin_a_sentence_is_refused_in_one_line(folder, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    path = shutil.copytree(folder, tmp_path / "language")
    for file in path.glob("*token*"):
        file.unlink()
    bare = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer(), pad_token="[PAD]", unk_token="[UNK]")
    bare.save_pretrained(path)
    with pytest.raises(AtmError, match="no token for the beginning or the end") as caught:
        LanguageModel.read(str(path))
    assert "\n" not in str(caught.value)


def test_the_digest_tells_models_apart_wherever_they_lie(folder, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    same, other = (shutil.copytree(folder, tmp_path / name) for name in ("same", "other"))
    model = transformers.AutoModelForCausalLM.from_pretrained(other)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    model.save_pretrained(other)
    digests = [LanguageModel.read(str(path)).digest for path in (folder, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_what_is_no_language_model_is_refused_in_one_line(tmp_path):
    pytest.importorskip("transformers", reason="needs the extra 'hf'")
    with pytest.raises(AtmError, match="--prior") as caught:
        LanguageModel.read(str(tmp_path))
    assert "\n" not in str(caught.value)
