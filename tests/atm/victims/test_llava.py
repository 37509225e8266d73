"""LLaVA of transformers runs here as it runs there, its tower on the device."""

from __future__ import annotations

import json

import pytest
import torch

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.signals import AskedSignal
from atm.victims import load_victim
from atm.victims.llava import PROMPT, prompt_of
from tests.questions import WORDS, save_llava, tokenizer

QUESTION, ANSWERS = "what colour is it ?", ("red", "blue a")


@pytest.mark.parametrize(
    ("select", "layer", "tower"),
    [("default", -2, "clip"), ("full", -1, "clip"), ("full", 1, "clip"), ("full", -2, "siglip")],
)
@torch.no_grad()
def test_unmerged_it_says_what_transformers_says(tmp_path, select, layer, tower):
    model = save_llava(tmp_path, select, layer, tower)
    victim = load_victim(str(tmp_path))
    encoder = victim.encoder
    assert victim.task == "questions" and isinstance(encoder.signal, AskedSignal)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    dense = MergePolicy.uniform(1.0, encoder.depth)
    sent = encoder(images, dense).tokens
    scored = encoder.score(sent, dense, [QUESTION] * 2, ANSWERS)
    places = sent.counts[0] - (sent.prefix if select == "default" else 0)
    words = tokenizer()
    for column, answer in enumerate(ANSWERS):
        text = PROMPT.replace("<image>", " ".join(["<image>"] * places)).replace("{question}", QUESTION)
        prompt, ends = words(text).input_ids, [*words(answer, add_special_tokens=False).input_ids, 2]
        numbers = torch.tensor([prompt + ends[:-1]] * 2)
        assert int((numbers[0] == WORDS.index("<image>")).sum()) == places
        theirs = (
            model(input_ids=numbers, pixel_values=encoder.normalise(images)).logits[:, -len(ends) :].log_softmax(-1)
        )
        losses = -theirs.gather(2, torch.tensor([ends] * 2)[:, :, None]).sum((1, 2))
        assert torch.allclose(scored.losses[:, column], losses, atol=1e-4)


def test_the_layers_behind_the_one_that_is_read_are_not_computed(tmp_path):
    save_llava(tmp_path / "one", "full", 1)
    save_llava(tmp_path / "all", "full", -1)
    one, every = (load_victim(str(tmp_path / name)).encoder for name in ("one", "all"))
    assert (one.depth, every.depth) == (1, 3)
    costs = [float(e.flops(torch.full((e.depth + 1, 1), 17), MergePolicy.uniform(1.0, e.depth))) for e in (one, every)]
    assert costs[0] < costs[1]


def test_its_digest_is_of_tower_projector_and_language_model(tmp_path):
    model = save_llava(tmp_path)
    digests = {load_victim(str(tmp_path)).digest}
    for part in (model.lm_head.weight, next(model.model.multi_modal_projector.parameters()),
                 model.model.vision_tower.state_dict()[next(iter(model.model.vision_tower.state_dict()))]):  # fmt: skip
        with torch.no_grad():
            part.add_(0.5)
        model.save_pretrained(tmp_path)
        digests.add(load_victim(str(tmp_path)).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_feature_layer": [-2, -1]}, "reads several layers"),
        ({"vision_feature_layer": -9}, "layer -5 is not in 1 to 3"),
    ],
)
def test_what_it_cannot_be_is_refused_in_one_line(tmp_path, change, words):
    save_llava(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}), encoding="utf-8")
    with pytest.raises(AtmError, match=words) as refused:
        load_victim(str(tmp_path))
    assert "\n" not in str(refused.value)


def test_options_that_its_folder_answers_are_refused(tmp_path):
    save_llava(tmp_path)
    with pytest.raises(AtmError, match="--mean cannot be given"):
        load_victim(str(tmp_path), mean=[0.5])
    assert load_victim(str(tmp_path), image_size=16).encoder.signal.shape == (3, 16, 16)


def test_a_template_is_taken_where_it_has_place_for_a_picture():
    words = tokenizer()
    assert prompt_of(words) == PROMPT
    words.chat_template = (
        "<s>{% for m in messages %}{% for part in m.content %}{% if part.type == 'image' %}<image>{% else %} "
        "{{ part.text }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
    )
    assert prompt_of(words) == "<image> {question} ASSISTANT:"
    words.chat_template = "{{ messages[0].content }}"
    assert prompt_of(words) == PROMPT
