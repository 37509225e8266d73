"""Linear heads: what they learn, whose they are, and their files."""

from __future__ import annotations

import pytest
import torch

from atm.data import ImageSet
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.victims import Victim, load_victim, probe
from atm.weight_files import write_weights
from tests.atm.models import tiny_encoder
from tests.atm.victims.saved import NAME, answer, images, model, pictures, save

CLASSES = ("dark", "grey", "light")


@pytest.fixture(scope="module")
def backbone() -> Victim:
    return Victim("tiny", tiny_encoder(num_classes=0), (), "0" * 64, {"outputs": "features"}, task=None)


@pytest.fixture(scope="module")
def train() -> ImageSet:
    return pictures(CLASSES, each=30)


def test_a_probe_learns_what_the_features_tell(backbone, train):
    victim = probe.probed(backbone, train)
    test = pictures(CLASSES, each=20, seed=1)
    answers = victim.answers(test)
    assert victim.task == "classification" and victim.classes == CLASSES and answers.name == "accuracy"
    assert float((victim.logits(test).argmax(-1) == answers.truth).double().mean()) > 0.9
    assert "outputs" not in victim.description and backbone.task is None and backbone.encoder.vit.num_classes == 0


def test_labels_that_nothing_tells_are_not_learned(backbone, train):
    shuffled = train.labels[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
    found = probe.fit(backbone, ImageSet("shuffled", train.pixels, shuffled, train.classes))
    assert found.description["held_out_accuracy"] < 0.8


def test_it_is_the_minimum_of_its_objective(backbone, train):
    """The gradient of the penalised loss, computed anew from the head itself, is zero."""
    found = probe.fit(backbone, train)
    x = probe.features(backbone.encoder, train).double()
    scale = x.std(0)
    linear = torch.nn.Linear(x.shape[1], len(CLASSES)).double()
    linear.load_state_dict({name: tensor.double() for name, tensor in found.linear.state_dict().items()})
    loss = torch.nn.functional.cross_entropy(linear(x), train.labels)
    loss = loss + found.description["penalty"] / 2 * (linear.weight * scale).square().sum()
    loss.backward()
    # a bias belongs to standardised features, whose mean is taken off
    gradient = (linear.weight.grad - linear.bias.grad[:, None] * x.mean(0)) / scale
    assert gradient.abs().max() < 1e-3 and linear.bias.grad.abs().max() < 1e-3


@pytest.mark.parametrize(
    "name", [NAME, "deit_tiny_distilled_patch16_224", "vit_base_patch16_siglip_224", "beit_base_patch16_224"]
)
def test_features_are_what_timms_own_head_reads(name):
    made = model(name, num_classes=0, embed_dim=48, depth=2, num_heads=3)
    victim = Victim(name, Encoder(made).eval().requires_grad_(False), (), "0", task=None)
    batch = pictures(CLASSES, each=1)
    with torch.no_grad():
        wanted = made.forward_head(made.forward_features(victim.encoder.normalise(batch.images)), pre_logits=True)
    wanted = sum(wanted) / 2 if isinstance(wanted, tuple) else wanted
    torch.testing.assert_close(probe.features(victim.encoder, batch), wanted, atol=1e-5, rtol=1e-5)


def test_a_head_answers_for_both_tokens_of_a_distilled_model(train):
    made = model("deit_tiny_distilled_patch16_224", num_classes=4, depth=2)
    victim = Victim("deit", Encoder(made).eval().requires_grad_(False), (), "0")
    found = probe.fit(victim, train)
    expected = found.linear(probe.features(victim.encoder, train))
    torch.testing.assert_close(probe.with_head(victim, found).logits(train), expected, atol=1e-4, rtol=1e-4)
    assert made.num_classes == 4 and made.head is not found.linear


def test_a_head_comes_back_from_its_file(tmp_path, backbone, train):
    made = model(num_classes=0)
    weights = save(made.state_dict(), tmp_path / "w.safetensors")
    victim = load_victim(NAME, weights)
    found = probe.fit(victim, train)
    path = tmp_path / "head.safetensors"
    write_weights(path, found.linear, found.description)
    again = load_victim(NAME, weights, head=path)
    batch = images(3, 32, 32)
    assert torch.equal(answer(again, batch), answer(probe.with_head(victim, found), batch))
    assert again.classes == CLASSES and again.digest != victim.digest
    with pytest.raises(AtmError, match="another victim"):
        probe.with_head_file(backbone, path)
    write_weights(path, found.linear, {**found.description, "classes": ["one"]})
    with pytest.raises(AtmError, match="describes no head"):
        load_victim(NAME, weights, head=path)


def test_one_class_is_no_task(backbone):
    with pytest.raises(AtmError, match="at least two classes"):
        probe.fit(backbone, pictures(("one",)))
