"""Every attack finds the leak that was planted for it, and finds nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attacks
from atm.errors import AtmError, KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.threat import Knowledge, ThreatModel
from attacks.base import held_out, patch_features
from attacks.context import Context
from attacks.decoder import Decoder
from attacks.mean_image import MeanImage
from attacks.nearest import Nearest
from attacks.ridge import Ridge
from attacks.session import Session
from attacks.stacked import Stacked
from attacks.training import Schedule
from privacy_metrics import psnr, ssim
from tests.atm.models import tiny_encoder
from tests.attacks.planted import GRID, SERVER, SIGNAL, PlantedLink, pictures, rebuild, rotation


def test_ridge_undoes_a_secret_rotation():
    rebuilt = rebuild(Ridge(), PlantedLink(lambda p: p @ rotation()), pictures(400), pictures(20, seed=1))
    assert float(psnr(rebuilt, pictures(20, seed=1)).min()) > 35


@pytest.mark.parametrize("attack", [Ridge, Context, lambda: Decoder(schedule=Schedule(steps=60, every=20))])
def test_nothing_is_found_in_tokens_of_noise(attack):
    """Tokens that carry nothing: an attack must not do better than the mean picture, or the truth has leaked to it."""
    link = PlantedLink(lambda p: torch.randn(p.shape, generator=torch.Generator().manual_seed(len(p))))
    auxiliary, victims = pictures(200), pictures(60, seed=1)
    rebuilt = rebuild(attack(), link, auxiliary, victims)
    error = (rebuilt - victims).square().mean()
    floor = (rebuild(MeanImage(), link, auxiliary, victims) - victims).square().mean()
    assert error > 0.97 * floor


def test_the_decoder_undoes_what_is_not_linear():
    def fold(patches):
        return torch.cat([(patches - 0.5).abs(), (patches @ rotation()[:, :64]).sign()], -1)

    link, auxiliary, victims = PlantedLink(fold), pictures(600), pictures(40, seed=1)
    decoder = float(
        ssim(rebuild(Decoder(schedule=Schedule(steps=300, every=50)), link, auxiliary, victims), victims).mean()
    )
    ridge = float(ssim(rebuild(Ridge(), link, auxiliary, victims), victims).mean())
    assert decoder > ridge + 0.02


def test_a_decoder_that_learns_nothing_falls_back_to_ridge():
    link, auxiliary, victims = PlantedLink(lambda p: p @ rotation()), pictures(200), pictures(10, seed=1)
    decoder = Decoder(schedule=Schedule(steps=3, every=1, rate=10.0))
    rebuilt = rebuild(decoder, link, auxiliary, victims)
    _, seen, _ = Session(link, SERVER, auxiliary).victims(victims)
    torch.testing.assert_close(rebuilt, decoder.ridge.reconstruct(seen))


@pytest.mark.parametrize("places", [1, 5], ids=["from the left", "from above and the left"])
def test_context_reads_a_patch_from_the_tokens_around_it(places):
    """Each token tells of the patch before it, so that a patch's own says nothing of it and a neighbour's all."""
    link, auxiliary, victims = PlantedLink(lambda p: p.roll(places, 1)), pictures(400), pictures(20, seed=1)
    inside = SIGNAL.to_units(torch.ones(1, 3, 32, 32)).unflatten(1, GRID).clone()
    inside[:, -1], inside[:, :, -1] = 0, 0  # those at the edges have no neighbour that tells of them
    mask = SIGNAL.from_units(inside.flatten(1, 2)).bool().expand_as(victims)
    context, ridge = (rebuild(attack, link, auxiliary, victims) for attack in (Context(), Ridge()))
    errors = [float((rebuilt - victims)[mask].square().mean()) for rebuilt in (context, ridge)]
    assert errors[0] < 0.25 * errors[1]


def test_what_context_looks_at_is_as_by_hand():
    link = Link(tiny_encoder(), MergePolicy.uniform(0.3, 3))
    session = Session(link, SERVER, pictures(60))
    context, seen = session.fitted(Context, components=3), session.oracle().observe(torch.arange(4))
    own, values = patch_features(seen), seen.tokens.per_patch()
    found = context._features(seen)
    assert found.shape == (4, 16, own.shape[-1] + 8 * 3) and torch.equal(found[..., : own.shape[-1]], own)
    around = found[..., own.shape[-1] :].unflatten(-1, (8, 3)).unflatten(1, GRID)
    steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
    for row in range(4):
        for column in range(4):
            for number, (down, across) in enumerate(steps):
                place = min(max(row + down, 0), 3) * 4 + min(max(column + across, 0), 3)
                wanted = (values[:, place] - context.mean) @ context.directions
                torch.testing.assert_close(around[:, row, column, number], wanted)
    torch.testing.assert_close(context.directions.T @ context.directions, torch.eye(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("attack", [Ridge, Context])
@pytest.mark.parametrize("count", [2, 3])
def test_closed_forms_work_with_hardly_any_pictures(count, attack):
    rebuilt = rebuild(attack(), PlantedLink(lambda p: p @ rotation()), pictures(count), pictures(3, seed=1))
    assert rebuilt.shape == (3, 3, 32, 32) and bool(rebuilt.isfinite().all())


def test_context_falls_back_to_ridge_where_neighbours_only_mislead(monkeypatch):
    link, victims = PlantedLink(lambda p: p @ rotation()), pictures(10, seed=1)
    session = Session(link, SERVER, pictures(200))
    monkeypatch.setattr(Context, "_error", lambda self, oracle, held, around: float(around))
    _, seen, _ = session.victims(victims)
    rebuilt = session.fitted(Context).reconstruct(seen)
    torch.testing.assert_close(rebuilt, session.fitted(Ridge).reconstruct(seen))


@pytest.fixture
def stacked(monkeypatch):
    """Fitted on tokens that tell the half of what there is, and its session."""
    monkeypatch.setattr(Decoder, "schedule", Schedule(steps=30, every=10))
    link = PlantedLink(lambda p: torch.cat([(p - 0.5).abs()[..., ::2], p.roll(1, 1)[..., :64]], -1))
    session = Session(link, SERVER, pictures(400))
    return session.fitted(Stacked), session


def test_weights_of_several_methods_are_those_of_least_squares(stacked, monkeypatch):
    attack, session = stacked
    oracle, (train, held) = session.oracle(), held_out(400)
    seen, truth = oracle.observe(held), SIGNAL.to_units(oracle.images[held])
    rebuilt = [SIGNAL.to_units(member.reconstruct(seen)) for member in attack.members]
    assert [member.name for member in attack.members] == ["ridge", "context", "whole", "kernel", "decoder"]
    assert attack.history is session.fitted(Decoder).history is not None
    directions, mean = attack.directions.numpy(), SIGNAL.to_units(oracle.images[train]).mean(0)
    torch.testing.assert_close(attack.mean, mean)  # of none of those that weights are fitted to
    np.testing.assert_allclose(directions.T @ directions, np.eye(len(directions)), atol=1e-4)
    for number in (0, 90, len(directions) - 1):
        found = np.stack([((r - mean).numpy() @ directions[:, number]).ravel() for r in rebuilt], 1).astype(float)
        wanted = ((truth - mean).numpy() @ directions[:, number]).ravel().astype(float)
        damped = np.sqrt(1e-3 * (found**2).sum(0).mean()) * np.eye(5)  # as rows of their own, for zeros
        weights, *_ = np.linalg.lstsq(np.r_[found, damped], np.r_[wanted, np.zeros(5)], rcond=None)
        np.testing.assert_allclose(attack.weights[number].numpy(), weights, atol=2e-3)


def test_several_methods_together_rebuild_more_than_the_best_of_them(stacked):
    attack, session = stacked
    victims = pictures(60, seed=1)
    _, seen, _ = session.victims(victims)
    alone = [float((member.reconstruct(seen) - victims).square().mean()) for member in attack.members]
    assert float((attack.reconstruct(seen) - victims).square().mean()) < 0.97 * min(alone)


@pytest.mark.parametrize("count", [2, 12])
def test_where_held_out_pictures_are_too_few_to_weigh_by_it_is_the_best_method(stacked, count):
    """Of one held-out picture no half is left, and weights of noise do worse on the other half."""
    torch.manual_seed(0)
    found, wanted = torch.randn(count // 2, 1, 3, 4), torch.zeros(count // 2, 1, 3)
    found[..., 2] = 0.01
    weights = stacked[0]._chosen(found, wanted + 0.01 * torch.randn_like(wanted))
    assert torch.equal(weights, torch.tensor([0.0, 0, 1, 0]).expand(3, -1))


def test_tokens_that_never_change_give_the_mean_picture():
    auxiliary, victims = pictures(100), pictures(5, seed=1)
    rebuilt = rebuild(Ridge(), PlantedLink(lambda p: torch.zeros_like(p)), auxiliary, victims)
    torch.testing.assert_close(rebuilt, auxiliary[:90].mean(0).expand_as(rebuilt))


def test_nearest_finds_the_same_picture_again():
    auxiliary = pictures(50)
    rebuilt = rebuild(Nearest(), PlantedLink(lambda p: p), auxiliary, (auxiliary[[3, 8]] + 0.01).clamp(0, 1))
    assert torch.equal(rebuilt, auxiliary[[3, 8]])


def test_merging_is_seen_in_the_features():
    link = Link(tiny_encoder(), MergePolicy.uniform(0.3, 3))
    seen = Session(link, SERVER, pictures(5)).oracle().observe()
    features = patch_features(seen)
    same = seen.tokens.source[0, 0] == seen.tokens.source[0]
    assert same.sum() > 1, "the case must merge something"
    assert torch.equal(features[0, 0], features[0, int(same.nonzero()[-1])])
    assert float(features[0, 0, 24]) == pytest.approx(float(same.sum().float().log()))


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), side=st.integers(1, 4), seed=st.integers(0, 99))
def test_patches_are_the_vision_transformers(rows, columns, side, seed):
    images = torch.rand(2, 3, rows * side, columns * side, generator=torch.Generator().manual_seed(seed))
    signal = ImageSignal((3, rows * side, columns * side), (rows, columns))
    patches = signal.to_units(images)
    assert torch.equal(signal.from_units(patches), images)
    unfolded = torch.nn.functional.unfold(images, side, stride=side).transpose(1, 2)
    assert torch.equal(patches, unfolded)


@given(st.integers(2, 5000))
def test_held_out_images_are_apart(count):
    train, validation = held_out(count)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(count)) and len(validation) >= 1


@pytest.mark.parametrize("name", sorted(attacks.available()))
def test_denied_knowledge_is_an_error_by_name(name):
    attack = attacks.create(name)
    for flag in attack.needs:
        blind = ThreatModel("blind", knows=Knowledge.EVERYTHING & ~flag)
        with pytest.raises(KnowledgeError, match=f"attack '{name}' needs .* 'blind' denies"):
            attack.fit(Session(PlantedLink(lambda p: p), blind, pictures(30)).oracle())


def test_every_attack_file_is_found_and_unknown_names_are_suggested():
    assert {"ridge", "decoder", "optimization", "mean_image", "nearest"} <= set(attacks.available())
    with pytest.raises(AtmError, match="did you mean 'ridge'"):
        attacks.create("rigde")
