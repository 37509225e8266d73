"""Each defence does what its name says, and keeps the invariants of packed tokens."""

from __future__ import annotations

import math

import pytest
import torch

import defenses
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, Knowledge
from atm.tokens import NOWHERE
from attacks.base import patch_features
from attacks.position import Position
from attacks.ridge import Ridge
from attacks.session import Session
from defenses.base import deviation
from defenses.cem import Cem, through
from defenses.nopeek import distance_correlation
from tests.atm.models import random_tokens, tiny_encoder
from tests.attacks.planted import pictures, rebuild

ALL = ("gaussian:0.5", "laplace:0.5", "quantize:3", "drop:0.5", "shuffle", "low-rank:4", "pad:8", "no-position",
       "adversarial", "nopeek", "disco", "cem", "shuffle+drop:0.5+gaussian:0.2+pad:4")  # fmt: skip


@pytest.fixture(scope="module")
def link() -> Link:
    return Link(tiny_encoder(), MergePolicy.uniform(0.5, 3, exit_layer=2))


@pytest.fixture(scope="module")
def images():
    return pictures(24)


def under(link, text, images):
    return defenses.fitted(defenses.create(text), link, images, 3)


def both(link, text, images, seed=1):
    """Tokens without and with the defence, and the servers' answers."""
    plain, protected = link.transmit(images, seed), under(link, text, images).transmit(images, seed)
    return plain, protected


@pytest.mark.parametrize("text", ALL)
def test_invariants_hold_and_the_same_seed_gives_the_same_tokens(link, images, text):
    system = under(link, text, images)
    first, again, other = (system.transmit(images, seed).sent for seed in (1, 1, 2))
    assert torch.equal(first.values, again.values)
    random = text not in ("quantize:3", "low-rank:4", "no-position", "adversarial", "nopeek", "disco")
    assert random == (first.values.shape != other.values.shape or not torch.equal(first.values, other.values))
    assert len(first.values) == int(first.lengths.sum()) == len(first.sizes) and first.values.isfinite().all()
    assert (first.source < first.lengths[:, None]).all()
    found = first.source != NOWHERE
    assert (first.source[found] >= first.prefix).all(), "no patch ends in a protected token"
    kept = torch.zeros(len(first.values)).index_add(
        0, (first.source + first.offsets[:, None])[found], torch.ones(int(found.sum()))
    )
    free = torch.ones(len(kept), dtype=torch.bool)
    free[(first.offsets[:, None] + torch.arange(first.prefix)).flatten()] = False
    assert torch.equal(kept[free], first.sizes[free]), "sizes count the patches of the map"
    assert system.transmit(images, 1).logits.isfinite().all()


def test_gaussian_and_laplace_have_the_variance_and_the_shape_asked_for(link, images):
    dense = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2))
    unit = deviation(dense.transmit(images).sent.values)
    many = pictures(400, 5)
    for text, kurtosis in (("gaussian:0.5", 3.0), ("laplace:0.5", 6.0)):
        plain, protected = both(dense, text, many)
        noise = under(dense, text, images).transmit(many, 1).sent.values - plain.sent.values
        assert float(noise.std()) == pytest.approx(0.5 * unit, rel=0.02)
        assert abs(float(noise.mean())) < 0.01 * unit
        assert float((noise**4).mean() / (noise**2).mean() ** 2) == pytest.approx(kurtosis, rel=0.1)
        assert not torch.equal(protected.sent.protected(), plain.sent.protected())


def test_quantize_has_so_many_levels_is_idempotent_and_lets_gradients_through(link, images):
    system = under(link, "quantize:3", images)
    tokens = system.transmit(images).sent
    assert max(len(column.unique()) for column in tokens.values.T) <= 8
    assert torch.equal(system.defence.protect(tokens).values, tokens.values)
    # more levels, a smaller error: at most half a step inside the range
    plain = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2)).transmit(images).sent
    error = (system.defence.protect(plain).values - plain.values).abs()
    assert (error <= system.defence.step / 2 * 1.001).all()
    x = images[:2].clone().requires_grad_()
    system.send(x)[0].values.sum().backward()
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.9])
def test_drop_keeps_the_fraction_of_free_tokens_and_all_protected_ones(fraction):
    tokens = random_tokens([9, 4, 2, 17])
    left = defenses.create(f"drop:{fraction}").protect(tokens, torch.Generator().manual_seed(0))
    assert left.counts == [1 + max(1, round((n - 1) * (1 - fraction))) for n in tokens.counts]
    assert torch.equal(left.protected(), tokens.protected())
    before, after, gone = tokens.per_patch(), left.per_patch(), left.source == NOWHERE
    assert torch.equal(before[~gone], after[~gone]) and bool((after[gone] == 0).all()) and gone.any()
    for part, whole in zip(left.values.split(left.counts), tokens.values.split(tokens.counts), strict=True):
        rows = [int((whole == row).all(1).nonzero()) for row in part]
        assert rows == sorted(rows), "what is left keeps its order"


def test_a_dropped_patch_borrows_its_neighbour_and_is_marked(link, images):
    system = under(link, "drop:0.5", images)
    seen = Session(system, PRESETS["server"], images).oracle().observe()
    features, width = patch_features(seen), seen.tokens.values.shape[1]
    source = seen.tokens.source
    for image in range(3):
        arrived = (source[image] != NOWHERE).nonzero().squeeze(1)
        for patch in range(source.shape[1]):
            nearest = int((arrived - patch).abs().min())
            candidates = [p for p in (patch - nearest, patch + nearest) if p in arrived.tolist()]
            expected = seen.tokens.per_patch()[image, candidates]
            assert (features[image, patch, :width] == expected).all(1).any()
            assert (float(features[image, patch, width]) == -1) == (source[image, patch] == NOWHERE)


def test_shuffle_is_a_permutation_that_the_server_does_not_notice_and_the_map_is_denied(link, images):
    plain, shuffled = both(link, "shuffle", images)
    torch.testing.assert_close(plain.logits, shuffled.logits)
    assert shuffled.sent.counts == plain.sent.counts and not torch.equal(shuffled.sent.values, plain.sent.values)
    torch.testing.assert_close(shuffled.sent.per_patch(), plain.sent.per_patch())
    torch.testing.assert_close(shuffled.sent.protected(), plain.sent.protected())
    system = under(link, "shuffle", images)
    for threat in PRESETS.values():
        seen = threat.observe(shuffled, system)
        assert seen.tokens.source is None and seen.tokens.places is None
        assert (seen.tokens.sizes is not None) == (Knowledge.SIZES in threat.on(system).knows)
        assert not threat.on(system).knows & Knowledge.MERGE_MAP
    oracle = Session(system, PRESETS["server"], images).oracle()
    assert oracle.observe().tokens.source is None
    assert oracle.rehearse().tokens.source is not None, "her own shuffles she knows"
    first, second = (system.transmit(images, seed).sent.source for seed in (1, 2))
    assert not torch.equal(first, second), "the order is drawn anew"


def test_shuffle_refuses_tokens_that_carry_their_places():
    from dataclasses import replace

    tokens = random_tokens([5, 5])
    with pytest.raises(AtmError, match="places"):
        defenses.create("shuffle").protect(replace(tokens, places=torch.arange(10) % 5))


def test_places_can_be_recovered_from_shuffled_tokens():
    """Position embeddings are strong in this victim, so the adaptive attack finds most patches again."""
    encoder = tiny_encoder()
    encoder.vit.pos_embed.mul_(4)
    system = Link(encoder, MergePolicy.uniform(1.0, 3, exit_layer=1), defence=defenses.create("shuffle"))
    torch.manual_seed(0)
    attack = Position()
    session = Session(system, PRESETS["server"], pictures(200, 7))
    attack.fit(session.oracle())
    _, seen, truth = session.victims(pictures(20, 8))
    right = (attack.recover(seen) == truth).float().mean()
    assert float(right) > 0.5, "chance is 1 in 16"
    assert attack.reconstruct(seen).isfinite().all()


def test_low_rank_has_the_rank_and_keeps_the_most_variance(link, images):
    dense = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2))
    plain, protected = both(dense, "low-rank:4", images)
    centred = (protected.sent.values - protected.sent.values.mean(0)).double()
    assert int(torch.linalg.matrix_rank(centred, rtol=1e-4)) == 4
    singular = torch.linalg.svdvals((plain.sent.values - plain.sent.values.mean(0)).double())
    assert float(centred.square().sum()) == pytest.approx(float(singular[:4].square().sum()), rel=1e-4)


def test_pad_hides_the_count_within_a_bucket_and_the_answer_stays(link, images):
    plain, padded = both(link, "pad:8", images)
    assert len(set(plain.sent.counts)) > 1
    assert padded.sent.counts == [8 * math.ceil(n / 8) for n in plain.sent.counts]
    torch.testing.assert_close(plain.logits, padded.logits, rtol=1e-4, atol=1e-5)
    assert padded.symbols.sum() > plain.symbols.sum(), "padding costs bandwidth"
    real, rows = padded.sent.without_padding()
    assert torch.equal(padded.sent.values[rows], real.values)
    assert torch.equal(real.values, plain.sent.values) and torch.equal(real.source, plain.sent.source)
    assert torch.equal(padded.sent.source, plain.sent.source), "no patch ends in padding"


def test_no_position_leaves_no_mean_per_place(link, images):
    dense = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2))
    plain, protected = both(dense, "no-position", images)
    spread = protected.sent.per_patch().mean(0).std(0).norm()
    assert float(spread) < 1e-4 * float(plain.sent.per_patch().mean(0).std(0).norm())
    assert torch.equal(plain.sent.protected(), protected.sent.protected())


def test_adversarial_keeps_the_answers_better_than_it_keeps_the_patches(link, images):
    dense = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2))
    many = pictures(200, 11)
    system = under(dense, "adversarial:1", many)
    plain, protected = dense.transmit(images, 1), system.transmit(images, 1)
    assert int(torch.linalg.matrix_rank(protected.sent.values - system.defence.mean, rtol=1e-3)) <= 6
    untrained = under(dense, "low-rank:6", many).transmit(images, 1)

    def linear_error(tokens_of):
        return float((rebuild(Ridge(), tokens_of, many, images) - images).square().mean())

    assert linear_error(system) >= linear_error(under(dense, "low-rank:6", many)), "no less private than plain PCA"
    wrong = (protected.logits - plain.logits).square().mean()
    assert float(wrong) < float((untrained.logits - plain.logits).square().mean()), "and closer to the task"


@pytest.mark.parametrize("text", ["adversarial", "nopeek", "disco:0.5", "cem:1:0.5"])
def test_what_is_learned_keeps_the_answers_better_than_what_is_not(link, images, text, monkeypatch):
    """Beside the same network with no care for the answers."""
    dense, many = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2)), pictures(200, 11)
    plain = dense.transmit(images, 1)
    careful = under(dense, text, many).transmit(images, 1)
    monkeypatch.setattr("defenses.learned.kl_div", lambda *given, **more: given[0].sum() * 0)
    careless = under(dense, text, many).transmit(images, 1)
    wrong = [float((each.logits - plain.logits).square().mean()) for each in (careful, careless)]
    assert wrong[0] < wrong[1]


def test_nopeek_lowers_the_distance_correlation_that_it_is_trained_on(link, images):
    dense, many = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2)), pictures(200, 11)

    def correlation(system):
        return float(distance_correlation(images.flatten(1), system.transmit(images, 1).sent.per_patch().flatten(1)))

    assert correlation(under(dense, "nopeek:10", many)) < correlation(dense) - 0.02


def test_distance_correlation_is_the_published_one():
    """By Székely's sums, pair by pair; 1 for what is similar, little for what is independent."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 5, generator=generator), torch.randn(12, 3, generator=generator)
    y[:, 0] += x[:, 0]

    def centred(rows):
        d = [[float((a - b).norm()) for b in rows] for a in rows]
        n, mean = len(d), sum(map(sum, d)) / len(d) ** 2
        return [[d[i][j] - sum(d[i]) / n - sum(d[k][j] for k in range(n)) / n + mean for j in range(n)]
                for i in range(n)]  # fmt: skip

    def covariance(a, b):
        return sum(p * q for row, other in zip(a, b, strict=True) for p, q in zip(row, other, strict=True)) / 144

    a, b = centred(x), centred(y)
    wanted = (covariance(a, b) / (covariance(a, a) * covariance(b, b)) ** 0.5) ** 0.5
    assert float(distance_correlation(x, y)) == pytest.approx(wanted, abs=1e-4)
    assert float(distance_correlation(x, 3 * x @ torch.linalg.qr(torch.randn(5, 5))[0] + 1)) == pytest.approx(
        1, abs=1e-3
    )
    many, other = torch.randn(800, 1, generator=generator), torch.randn(800, 1, generator=generator)
    assert float(distance_correlation(many, other)) < 0.15


def test_distance_correlation_has_a_slope_where_pictures_are_the_same():
    x = torch.randn(6, 4).requires_grad_()
    distance_correlation(torch.cat([x, x]), torch.randn(12, 3)).backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


@pytest.mark.parametrize(("ratio", "silent"), [(0.0, 0), (0.5, 12), (0.75, 18)])
def test_disco_silences_its_part_of_the_channels_of_each_picture(link, images, ratio, silent):
    system = under(link, f"disco:{ratio}", images)
    sent = system.transmit(images, 1).sent
    quiet = ((sent.values - system.defence.mean).abs() < 1e-6).float()
    for image in range(len(images)):
        own = quiet[sent.image_of_token == image]
        assert int((own.mean(0) == 1).sum()) == silent, "the same ones in all tokens of a picture"
    if silent:
        choices = {tuple(quiet[sent.image_of_token == image][0].tolist()) for image in range(len(images))}
        assert len(choices) > 1, "and others in other pictures"


@pytest.mark.parametrize("noise", [0.25, 1.0])
def test_what_passes_the_noise_of_cem_is_a_gaussian_channels(noise):
    """log det(1 + covariance / noise²) / 2d, by its eigenvalues; nothing of tokens that are all the same."""
    values = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 3.0])
    wanted = sum(math.log(1 + s**2 / noise**2) for s in (0.1, 1.0, 3.0)) / 6
    assert float(through(values, noise)) == pytest.approx(wanted, abs=0.02)
    assert float(through(torch.ones(50, 3), noise)) == pytest.approx(0, abs=1e-6)


def test_cem_counts_what_passes_within_each_class_and_puts_rare_ones_together(link, images):
    tokens = random_tokens([5, 6, 7, 8, 9])
    cem, classes = defenses.create("cem:1:0.5"), torch.tensor([2, 0, 2, 1, 3])
    image = tokens.image_of_token
    parts = [tokens.values[(image == 0) | (image == 2)], tokens.values[(image == 1) | (image >= 3)]]
    wanted = sum(len(part) * float(through(part, 0.5)) for part in parts) / len(tokens.values)
    assert float(cem._within_classes(tokens, torch.arange(5), classes)) == pytest.approx(wanted, rel=1e-5)


def test_what_cem_is_trained_on_counts_the_noise_once(link, images, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Cem, "_within_classes", lambda self, sent, rows, classes: seen.append(sent) or sent.values.sum() * 0
    )
    system = under(link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2)), "cem:1:1000", images)
    assert max(float(sent.values.abs().max()) for sent in seen) < 50, "no noise of a thousand deviations in it"
    assert float(system.transmit(images, 1).sent.values.std()) > 50 * float(system.defence.scale)


@pytest.mark.parametrize("text", ["disco", "adversarial", "nopeek", "cem"])
def test_pictures_that_are_all_the_same_leave_tokens_finite(link, text):
    for same in (torch.zeros(24, 3, 32, 32), torch.rand(1, 3, 32, 32)):
        sent = under(link, text, same).transmit(pictures(4), 1).sent
        assert bool(sent.values.isfinite().all())


def test_disco_counts_its_choice_once_for_each_picture(link, images):
    defence = under(link, "disco:0.5", images).defence
    lengths = torch.tensor([5, 17])
    width = defence.mean.numel()
    assert defence.flops(lengths).tolist() == [2.0 * 2 * width**2] * 2
    assert under(link, "disco:0.99", images).defence.network.silent < width


def test_cem_lets_less_pass_within_a_class_and_adds_its_noise(link, images):
    dense, many = link.with_policy(MergePolicy.uniform(1.0, 3, exit_layer=2)), pictures(200, 11)
    strong, none = (under(dense, f"cem:{weight}:0.5", many) for weight in (30, 0))
    tokens = dense.encode(images).tokens
    passed = [
        float(through(each.defence.standard(each.defence.expected(tokens)).values, 0.5)) for each in (strong, none)
    ]
    assert passed[0] < passed[1] - 0.02
    noisy = none.defence.protect(tokens, torch.Generator().manual_seed(0)).values - none.defence.expected(tokens).values
    assert float(noisy.std()) == pytest.approx(0.5 * deviation(tokens.values), rel=0.1)


def test_a_chain_applies_its_parts_in_order():
    tokens = random_tokens([9, 9])
    chain = defenses.create("drop:0.5+pad:4")
    assert chain.protect(tokens, torch.Generator().manual_seed(0)).counts == [8, 8]
    assert defenses.create("drop:0.5+shuffle").denies == Knowledge.MERGE_MAP


@pytest.mark.parametrize(
    ("text", "says"),
    [("gausian:0.5", "gaussian"), ("gaussian", "strength"), ("gaussian:x", "no number"), ("drop:1.5", "below 1"),
     ("quantize:0.5", "whole"), ("shuffle:3", "shuffle:3"), ("nopeek:-1", "from 0 to"), ("disco:1", "below 1"),
     ("cem:1:0", "above 0"), ("cem:1:1e30", "at most"), ("nopeek:inf", "from 0 to"),
     ("drop:0.5+", "unknown defence"), ("pad:0", "bucket")],
)  # fmt: skip
def test_bad_texts_are_refused_in_one_line(text, says):
    with pytest.raises(AtmError, match=says) as caught:
        defenses.create(text)
    assert "\n" not in str(caught.value)
