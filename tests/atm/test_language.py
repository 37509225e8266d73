"""Tokens and a question become an answer: what the model says, however many tokens there are."""

from __future__ import annotations

import pytest
import torch

from atm.errors import AtmError
from atm.language import Language, two_layers
from atm.policy import MergePolicy
from tests.atm.models import random_tokens
from tests.questions import PROMPT, WORDS, tiny_asked, tiny_language, tokenizer

QUESTIONS, ANSWERS = ("what colour is it ?", "is it red ?"), ("red", "blue a", "no", "yes b a")


def tokens():
    return random_tokens([9, 5], width=24)


def plainly(language: Language, prompt: torch.Tensor, answer: str) -> tuple[float, bool]:
    """Loss of an answer, and whether it is the likeliest, without anything remembered."""
    ends = language.ends(answer)
    logits = language.model(inputs_embeds=torch.cat([prompt, language.words(ends[:-1])])[None]).logits[0, -len(ends) :]
    said = logits.log_softmax(-1)
    return -float(said.gather(1, ends[:, None]).sum()), bool((said.argmax(-1) == ends).all())


@torch.no_grad()
def test_every_answer_has_the_loss_that_reading_it_whole_gives():
    language = tiny_language()
    scored = language.score(tokens(), QUESTIONS, ANSWERS)
    for row, prompt in enumerate(language.prompts(tokens(), QUESTIONS)):
        for column, answer in enumerate(ANSWERS):
            loss, exact = plainly(language, prompt, answer)
            assert float(scored.losses[row, column]) == pytest.approx(loss, abs=1e-4)
            assert bool(scored.exact[row, column]) == exact


@torch.no_grad()
def test_more_answers_than_are_compared_at_a_time_change_nothing():
    language = tiny_language()
    many = [f"{first} {second}" for first in WORDS[4:9] for second in WORDS[4:9]]
    whole = language.score(tokens(), QUESTIONS, many).losses
    alone = torch.cat([language.score(tokens(), QUESTIONS, [each]).losses for each in many], 1)
    assert torch.allclose(whole, alone, atol=1e-4)


@torch.no_grad()
def test_a_picture_is_answered_as_if_it_were_alone():
    language, both = tiny_language(), tokens()
    together = language.score(both, QUESTIONS, ANSWERS).losses
    alone = [language.score(both.select([row]), QUESTIONS[row : row + 1], ANSWERS).losses for row in range(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


@torch.no_grad()
def test_fewer_tokens_are_a_shorter_prompt_and_the_class_token_is_read_where_asked():
    long, short = tiny_language().prompts(tokens(), QUESTIONS)
    assert len(long) - len(short) == 4 + len(QUESTIONS[0].split()) - len(QUESTIONS[1].split())
    without = tiny_language(reads_class=False).prompts(tokens(), QUESTIONS)[0]
    assert len(without) == len(long) - 1
    begins = tiny_language().words(torch.tensor([WORDS.index("<s>")]))
    assert torch.equal(long[:1], begins) and torch.equal(without[:1], begins)


@torch.no_grad()
def test_what_it_says_is_the_exact_answer_and_no_other():
    language, seen = tiny_language(), tokens()
    said = language.say(seen, QUESTIONS, 6)
    scored = language.score(seen, QUESTIONS, [*said, "red blue red blue red"])
    for row, words in enumerate(said):
        if len(words.split()) < 6:  # it came to an end
            assert bool(scored.exact[row, row])
        assert not bool(scored.exact[row, -1])


def test_the_loss_of_a_batch_is_that_of_its_words_and_reaches_the_projector():
    language, seen, answers = tiny_language(), tokens(), ("red", "yes b a")
    language.projector.requires_grad_(True)
    loss = language.loss(seen, QUESTIONS, answers)
    single = [plainly(language, prompt, answer)[0] for prompt, answer in zip(
        language.prompts(seen, QUESTIONS), answers, strict=True)]  # fmt: skip
    assert float(loss.detach()) == pytest.approx(sum(single) / sum(len(language.ends(a)) for a in answers), abs=1e-4)
    loss.backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in language.projector.parameters())
    language.projector.zero_grad()
    language.projector.requires_grad_(False)


@pytest.mark.parametrize("prompt", ["{question}", "<image>", "<image> <image> {question}", "{question} <image>"])
def test_a_prompt_without_a_picture_before_its_question_is_refused(prompt):
    with pytest.raises(AtmError, match="must have <image> and then"):
        Language(tiny_language().model, two_layers(24, 64), tokenizer(), prompt, True)


@torch.no_grad()
def test_tokens_that_merged_are_answered_from_wherever_they_leave_the_device():
    encoder, images = tiny_asked(), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    asked = [QUESTIONS[0]] * 3
    for exit_layer in (1, 2):
        merging = MergePolicy.uniform(0.2, 2, exit_layer=exit_layer)
        sent = encoder(images, merging).tokens
        assert max(sent.counts) < 17
        scored = encoder.score(sent, merging, asked, ANSWERS)
        assert scored.losses.shape == (3, 4) and bool(scored.losses.isfinite().all())
    dense, early = MergePolicy.uniform(1.0, 2), MergePolicy.uniform(1.0, 2, exit_layer=1)
    first, second = (
        encoder.score(encoder(images, each).tokens, each, asked, ANSWERS).losses for each in (dense, early)
    )
    assert torch.allclose(first, second, atol=1e-4)
    assert not encoder.counts_sizes(MergePolicy.uniform(0.2, 2))


def test_prompts_of_templates_end_where_the_answer_begins():
    assert tiny_language().gap == "" and PROMPT.endswith(" ")
    assert Language(tiny_language().model, two_layers(24, 64), tokenizer(), PROMPT.strip(), True).gap == " "
