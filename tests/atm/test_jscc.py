"""The learned codec: what it promises of its symbols, what it is told, what training gives, and its files."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from atm import weight_files
from atm.channels import Awgn
from atm.codec_training import accuracies, standardised_error, train_codec
from atm.codecs import load_codec
from atm.data import ImageSet
from atm.errors import AtmError
from atm.jscc import JsccCodec
from atm.link import Link
from atm.policy import MergePolicy
from atm.tokens import TokenBatch
from atm.victims import Victim
from tests.atm.models import random_tokens, tiny_encoder

WIDTH = 24


def stirred(seed: int = 0) -> JsccCodec:
    """A codec in which every part has an effect: at first the blocks and the modulation have none."""
    torch.manual_seed(seed)
    codec = JsccCodec(WIDTH, (6, 3, 12), 32)
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return codec


@pytest.mark.parametrize("rate", [3, 6, 12])
@pytest.mark.parametrize("lengths, prefix", [([4, 9, 2], 1), ([7, 7], 1), ([1], 0), ([1, 300], 0)])
def test_any_number_of_tokens_becomes_symbols_of_unit_power_for_every_image(rate, lengths, prefix):
    codec = stirred().at_rate(rate)
    tokens = random_tokens([n + 1 for n in lengths], prefix, WIDTH)
    symbols, side = codec.encode(tokens, 7.0)
    assert symbols.shape == (len(tokens.values), rate) and symbols.dtype == torch.complex64 and side.numel() == 0
    power = torch.stack([part.abs().square().mean() for part in symbols.split(tokens.counts)])
    torch.testing.assert_close(power, torch.ones(len(lengths)), atol=1e-4, rtol=0)
    assert codec.decode(symbols, side, tokens, 7.0).shape == tokens.values.shape


def test_an_image_is_coded_as_if_it_were_alone():
    codec, tokens = stirred(), random_tokens([4, 9, 2], 1, WIDTH)
    snr = torch.tensor([0.0, 10.0, 20.0])
    symbols, side = codec.encode(tokens, snr)
    decoded = codec.decode(symbols, side, tokens, snr)
    for image, (own, back) in enumerate(zip(symbols.split(tokens.counts), decoded.split(tokens.counts), strict=True)):
        alone = tokens.select([image])
        torch.testing.assert_close(codec.encode(alone, float(snr[image]))[0], own, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(codec.decode(own, side[:1], alone, float(snr[image])), back, atol=1e-5, rtol=1e-4)


def test_a_tokens_symbols_depend_on_the_other_tokens_of_its_image():
    codec, tokens = stirred(), random_tokens([5, 5], 1, WIDTH)
    values = tokens.values.clone()
    values[3] += 1
    before, after = codec.encode(tokens, 10.0)[0], codec.encode(tokens.with_values(values), 10.0)[0]
    assert not torch.allclose(before[1], after[1], atol=1e-4), "attention mixes an image's tokens"
    torch.testing.assert_close(before[5:], after[5:])


def test_the_order_of_the_patch_tokens_does_not_matter():
    codec, tokens = stirred(), random_tokens([6], 1, WIDTH)
    order = torch.tensor([0, 3, 1, 5, 2, 4])
    turned = TokenBatch(tokens.values[order], tokens.lengths, tokens.sizes[order], prefix=1)
    torch.testing.assert_close(codec.encode(turned, 5.0)[0], codec.encode(tokens, 5.0)[0][order], atol=1e-5, rtol=1e-4)


def test_snr_and_rate_and_size_change_what_is_sent_and_what_is_decoded():
    codec, tokens = stirred(), random_tokens([4, 9], 1, WIDTH)
    symbols, side = codec.encode(tokens, 0.0)
    assert not torch.allclose(symbols, codec.encode(tokens, 20.0)[0], atol=1e-2)
    decoded = codec.decode(symbols, side, tokens, 0.0)
    assert not torch.allclose(decoded, codec.decode(symbols, side, tokens, 20.0), atol=1e-2)
    low, high = codec.at_rate(3).encode(tokens, 0.0)[0], codec.at_rate(12).encode(tokens, 0.0)[0]
    directions = [part[:, :3] / part[:, :3].norm() for part in (low, high)]
    assert not torch.allclose(*directions, atol=1e-3), "a lower rate is more than the first symbols of a higher one"
    padded = torch.nn.functional.pad(low, (0, 9))
    assert not torch.allclose(codec.decode(low, side, tokens, 0.0), codec.decode(padded, side, tokens, 0.0), atol=1e-2)
    unsized = TokenBatch(tokens.values, tokens.lengths, None, tokens.source, 1)
    assert not torch.allclose(symbols, codec.encode(unsized, 0.0)[0], atol=1e-3)


def test_the_receiver_reads_nothing_of_the_sent_tokens_but_how_many_there_are():
    codec, tokens = stirred(), random_tokens([4, 9], 1, WIDTH)
    symbols, side = codec.encode(tokens, 10.0)
    bare = TokenBatch(torch.full_like(tokens.values, math.nan), tokens.lengths, prefix=1)
    assert torch.equal(codec.decode(symbols, side, bare, 10.0), codec.decode(symbols, side, tokens, 10.0))


def test_outside_the_trained_snrs_it_works_as_at_the_nearer_end():
    codec, tokens = stirred(), random_tokens([4], 1, WIDTH)
    assert torch.equal(codec.encode(tokens, math.inf)[0], codec.encode(tokens, 20.0)[0])
    assert torch.equal(codec.encode(tokens, -30.0)[0], codec.encode(tokens, 0.0)[0])


def test_gradients_reach_the_tokens_and_every_weight():
    codec, tokens = stirred(), random_tokens([4, 9], 1, WIDTH)
    values = tokens.values.clone().requires_grad_()
    symbols, side = codec.encode(tokens.with_values(values), 10.0)
    codec.decode(symbols, side, tokens, 10.0).square().mean().backward()
    assert values.grad is not None and (values.grad.abs().sum(-1) > 0).all()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in codec.parameters())


def test_an_untrained_codec_is_the_linear_code_on_principal_components():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(4, WIDTH, generator=generator)
    values = torch.randn(600, 4, generator=generator) @ mixing + 3  # four components carry everything
    tokens = TokenBatch(values, torch.tensor([300, 300]))
    codec = JsccCodec(WIDTH, (2, 1), 32)
    codec.start_from(tokens)
    lost = []
    for rate in (2, 1):
        sender = codec.at_rate(rate)
        arrived = sender.decode(*sender.encode(tokens, 20.0), tokens, 20.0)
        pair = [(v - v.mean(0)).flatten() for v in (arrived.detach(), values)]
        lost.append(1 - float(torch.cosine_similarity(*pair, dim=0)) ** 2)  # but for an overall factor
    assert lost[0] < 0.03, "two symbols hold all four components"
    assert lost[1] > 0.1, "and one holds two of them"


@pytest.fixture(scope="module")
def trained():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(96, 3, 4, 4, generator=generator)
    pixels = (torch.nn.functional.interpolate(coarse, 32, mode="bilinear") * 255).to(torch.uint8)
    train = ImageSet("made up", pixels[:64], torch.zeros(64, dtype=torch.long), ("a",))
    victim = Victim("tiny", tiny_encoder(), (), "0" * 64)
    untrained, _ = train_codec(victim, train, rates=(6, 3), hidden=32, steps=1, batch=1)
    codec, about = train_codec(victim, train, rates=(6, 3), hidden=32, steps=120, batch=16)
    return victim, untrained, codec, about, ImageSet("made up", pixels[64:], torch.zeros(32, dtype=torch.long), ("a",))


@torch.no_grad()
def distortion(codec: JsccCodec, victim: Victim, data: ImageSet, snr_db: float, threshold: float) -> float:
    sent = Link(victim.encoder, MergePolicy.uniform(threshold, victim.encoder.depth)).transmit(data.images).sent
    symbols, side = codec.encode(sent, snr_db)
    arrived = codec.decode(Awgn(snr_db)(symbols, torch.Generator().manual_seed(0)), side, sent, snr_db)
    return float(standardised_error(codec, arrived, sent))


@pytest.mark.parametrize("rate", [6, 3])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_training_beats_the_linear_code_and_distortion_falls_with_the_snr(trained, rate, threshold):
    victim, untrained, codec, _, held_out = trained
    after = [distortion(codec.at_rate(rate), victim, held_out, snr, threshold) for snr in (0.0, 10.0, 20.0)]
    before = [distortion(untrained.at_rate(rate), victim, held_out, snr, threshold) for snr in (0.0, 10.0, 20.0)]
    assert after[0] > after[1] > after[2]
    assert after[0] < 0.9 * before[0] and sum(after) < 0.9 * sum(before)


def test_a_higher_rate_distorts_less(trained):
    victim, _, codec, _, held_out = trained
    low, high = (distortion(codec.at_rate(rate), victim, held_out, 10.0, 1.0) for rate in (3, 6))
    assert high < low


def test_training_is_repeatable_and_leaves_the_victim_alone(trained):
    victim, _, codec, about, held_out = trained
    before = weight_files.state_digest(victim.encoder)
    first, again = (train_codec(victim, held_out, rates=(3,), hidden=32, steps=3, batch=4)[0] for _ in range(2))
    assert weight_files.state_digest(first) == weight_files.state_digest(again)
    assert weight_files.state_digest(victim.encoder) == before
    assert not any(p.requires_grad for p in codec.parameters())
    assert about["policies"][0] == [1.0] * 3 and len({tuple(p) for p in about["policies"]}) > 10


def test_accuracy_over_the_air_is_that_of_the_link(trained):
    victim, _, codec, _, held_out = trained
    policy = MergePolicy.uniform(0.8, 3)
    answers = Link(victim.encoder, policy).transmit(held_out.images).logits.argmax(-1)
    data = ImageSet("answers", held_out.pixels, answers, tuple("abcde"))
    found = accuracies(victim, codec, data, (0.0, 10.0), policy, seed=5)
    assert found["uncoded"] == {"noiseless": 1.0}
    for rate, snr in ((6, 0.0), (3, 10.0)):
        logits = Link(victim.encoder, policy, codec.at_rate(rate), Awgn(snr)).transmit(data.images, 5).logits
        expected = float((logits.argmax(-1) == answers).float().mean())
        assert found[f"{rate} symbols"][f"{snr:g} dB"] == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def saved(trained, tmp_path):
    victim, _, codec, about, _ = trained
    path = tmp_path / "codec.safetensors"
    weight_files.write_weights(path, codec, about)
    return victim, path


def rewrite(path, **changes):
    """The same tensors under another description."""
    about, state = weight_files.read_weights(path, "codec")
    save_file(state, str(path), metadata={weight_files.HEADER: json.dumps({**about, **changes})})


def refusal(path, victim) -> str:
    with pytest.raises(AtmError) as error:
        load_codec(str(path), victim)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_saved_codec_is_the_same_codec_at_every_rate(saved, trained):
    victim, path = saved
    tokens = random_tokens([4, 9], 1, WIDTH)
    for name, rate in ((str(path), 6), (f"{path}:3", 3)):
        codec, digest = load_codec(name, victim)
        assert codec.symbols_per_token == rate and digest == weight_files.file_digest(path)
        assert torch.equal(codec.encode(tokens, 5.0)[0], trained[2].at_rate(rate).encode(tokens, 5.0)[0])
    with pytest.raises(AtmError, match=r"3, 6 symbols per token, not 5"):
        load_codec(f"{path}:5", victim)


def test_a_codec_of_another_victim_or_width_is_refused(saved):
    victim, path = saved
    other = Victim("other", victim.encoder, (), "1" * 64)
    assert "another victim than 'other'" in refusal(path, other)
    wide = Victim("wide", tiny_encoder(embed_dim=48), (), victim.digest)
    assert "tokens of 24 values, those of 'wide' have 48" in refusal(path, wide)


def test_damaged_codec_files_are_refused(saved, tmp_path):
    victim, path = saved
    content = path.read_bytes()
    for damaged in (content[:-100], content[:5], b"", b"x" * len(content), content[:8] + b"[" + content[9:]):
        path.write_bytes(damaged)
        assert "cannot be read as safetensors" in refusal(path, victim)
    path.unlink()
    assert "no such file" in refusal(path, victim)


def test_codec_files_with_another_description_are_refused(saved):
    victim, path = saved
    about, state = weight_files.read_weights(path, "codec")
    content = path.read_bytes()
    for architecture in (None, {}, "x", {"rates": [3]}, {**about["architecture"], "depth": "two"}):
        rewrite(path, architecture=architecture)
        assert "describes no codec" in refusal(path, victim)
        path.write_bytes(content)
    rewrite(path, architecture={**about["architecture"], "hidden": 64})
    assert "another architecture" in refusal(path, victim)
    save_file(state, str(path))
    assert "holds no codec" in refusal(path, victim)
    rewrite_kind = {"kind": "victim", **{k: v for k, v in about.items() if k != "kind"}}
    save_file(state, str(path), metadata={weight_files.HEADER: json.dumps(rewrite_kind)})
    assert "holds no codec" in refusal(path, victim)


def test_a_rate_is_asked_for_behind_a_colon():
    victim = Victim("tiny", tiny_encoder(), (), "0" * 64)
    assert load_codec("auto", victim)[0].name == "uncoded"
    for name, said in (("jscc", "no codec is shipped"), ("auto:16", "one rate"), ("uncoded:3", "one rate"),
                       ("jsc:16", "did you mean 'jscc'"), ("missing.safetensors:16", "no such file")):  # fmt: skip
        with pytest.raises(AtmError, match=said):
            load_codec(name, victim)
