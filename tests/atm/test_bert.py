"""Text encoders compute what transformers' do, keep sentences apart, send no padding and merge no special word."""

from __future__ import annotations

import pytest
import torch

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.tokens import NOWHERE
from atm.victims import load_victim
from atm.words import Words
from privacy_metrics.words import NO_WORD
from tests.texts import LONGEST, WORDS, save_transformers, sentences, tiny_bert, tiny_reader, tokenizer

DENSE = MergePolicy.uniform(1.0, 3)
MERGING = MergePolicy.uniform(0.3, 3)


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
@pytest.mark.parametrize("classes", [0, 3])
def test_a_loaded_victim_computes_what_transformers_computes(tmp_path, family, classes):
    model = save_transformers(tmp_path, family, classes)
    victim = load_victim(str(tmp_path))
    words = victim.encoder.signal.blank(5)
    words[:, :LONGEST] = sentences(5)
    encoded = victim.encoder(words, DENSE)
    lengths = (words != NO_WORD).sum(1)
    for number, length in enumerate(lengths.tolist()):
        ids = torch.cat([torch.tensor([2]), words[number, :length], torch.tensor([3])])[None]
        with torch.no_grad():
            theirs = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        hidden = theirs.hidden_states[-1][0]
        mine = encoded.tokens.select([number])
        torch.testing.assert_close(mine.values[2:], hidden[1:-1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(mine.values[:2], hidden[[0, -1]], atol=1e-5, rtol=1e-4)
        if classes:
            logits = victim.encoder.finish(mine, DENSE)
            torch.testing.assert_close(logits, theirs.logits, atol=1e-5, rtol=1e-4)
        else:
            torch.testing.assert_close(victim.encoder.pool(mine, DENSE)[0], hidden.mean(0), atol=1e-5, rtol=1e-4)
    assert victim.task == ("classification" if classes else None)


@pytest.mark.parametrize("policy", [DENSE, MERGING, MergePolicy.fixed_ratio(2, 3)], ids=["dense", "merging", "tome"])
def test_a_sentence_is_the_same_alone_and_among_others(policy):
    encoder, words = tiny_reader(), sentences(9, 3)
    together = encoder(words, policy)
    for number in range(len(words)):
        alone = encoder(words[number : number + 1], policy)
        torch.testing.assert_close(alone.tokens.values, together.tokens.select([number]).values)
        assert torch.equal(alone.tokens.source[0], together.tokens.source[number])
        assert alone.flops[0] == together.flops[number]


def test_padding_is_never_sent_and_every_word_is_counted_once():
    encoder, words = tiny_reader(), sentences(30, 1)
    there = words != NO_WORD
    assert torch.equal(encoder(words, DENSE).tokens.lengths, there.sum(1) + 2)
    merged = encoder(words, MERGING).tokens
    assert int(merged.lengths.sum()) < int(there.sum() + 2 * len(words)) and len(set(merged.counts)) > 1
    assert torch.equal(merged.source == NOWHERE, ~there)
    counted = torch.zeros(len(merged.values))
    rows = (merged.source + merged.offsets[:, None])[there]
    counted.index_add_(0, rows, torch.ones(len(rows)))
    special = (merged.offsets[:, None] + torch.arange(2)).flatten()
    assert not counted[special].any(), "no word ends in a special token"
    counted[special] = 1
    assert torch.equal(counted, merged.sizes)


def test_a_sentence_of_one_word_or_of_none_has_its_special_tokens():
    encoder = tiny_reader()
    words = encoder.signal.blank(2)
    words[0, 0] = 9
    assert encoder(words, MERGING).tokens.counts == [3, 2]


def test_flops_are_those_of_its_own_tokens():
    encoder = tiny_reader()
    short, long = sentences(1, 0, 3, 3), sentences(1, 0, LONGEST, LONGEST)
    assert float(encoder(short, DENSE).flops) < float(encoder(long, DENSE).flops) / 2


def test_what_is_for_pictures_is_refused_in_one_line(tmp_path):
    save_transformers(tmp_path)
    with pytest.raises(AtmError, match=r"--image-size cannot be given.*text"):
        load_victim(str(tmp_path), image_size=32)


def test_a_victim_without_a_tokenizer_is_refused(tmp_path):
    save_transformers(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(AtmError, match=r"tokenizer\.json holds no tokenizer"):
        load_victim(str(tmp_path))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(AtmError, match=r"has no tokenizer\.json"):
        load_victim(str(tmp_path))


def test_a_tokenizer_of_another_model_is_refused():
    with pytest.raises(AtmError, match=f"has word {WORDS - 1}, the model knows 50"):
        Words.of(tokenizer(), 50)
    assert Words.of(tokenizer(), WORDS).special == (2, 3)


def test_more_words_than_positions_are_never_asked_for():
    assert tiny_bert().positions.num_embeddings >= LONGEST + 2
