"""Finding out where tokens belong: by what they tell themselves, and by what a reconstruction would send."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm import channels
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, Knowledge, ThreatModel
from atm.tokens import TokenBatch
from attacks.alignment import Alignment
from attacks.alternating import Alternating
from attacks.discriminant import Discriminant, _fitted, _sizes, assigned
from attacks.matcher import Matcher
from attacks.objective import Likelihood, per_patch, together
from attacks.session import Campaign, Session
from audit.suite import choose_attacks
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures

SHUFFLED = ThreatModel("shuffled").without_knowledge(Knowledge.ORDER | Knowledge.SIZES)


def batch_of(lengths, sizes=None, width=3):
    values = torch.randn(sum(lengths), width)
    return TokenBatch(values, torch.tensor(lengths), sizes=sizes, prefix=1)


@given(seed=st.integers(0, 10_000), known=st.booleans())
@settings(deadline=None, max_examples=30)
def test_assignments_are_the_best_that_sizes_allow(seed, known):
    """Against all assignments of four patches to two tokens behind a class token."""
    torch.manual_seed(seed)
    scores = torch.randn(1, 4, 3)
    scores[:, :, 0] = -1e9
    sizes = torch.tensor([1.0, 3.0, 1.0]) if known else None
    found = assigned(scores, batch_of([3], sizes))[0].tolist()
    options = [o for o in product((1, 2), repeat=4) if not known or o.count(1) == 3]
    best = max(options, key=lambda option: sum(float(scores[0, patch, token]) for patch, token in enumerate(option)))
    assert tuple(found) == best


def test_as_many_tokens_as_patches_are_placed_one_to_one():
    torch.manual_seed(0)
    scores = torch.randn(5, 4, 5)
    scores[:, :, 0] = -1e9
    found = assigned(scores, batch_of([5] * 5))
    for image, own in zip(scores, found.tolist(), strict=True):
        best = max(permutations(range(1, 5)), key=lambda order: sum(float(image[p, t]) for p, t in enumerate(order)))
        assert tuple(own) == best


def test_the_discriminant_is_bayes_rule_for_gaussians_of_one_covariance():
    torch.manual_seed(0)
    images, patches, width = 4000, 3, 2
    centres, mix = torch.randn(patches, width) * 2, torch.randn(width, width)
    values = centres + torch.randn(images, patches, width) @ mix
    source = torch.arange(patches).expand(images, -1)
    slopes, offsets = _fitted(values.flatten(0, 1), source, torch.arange(images) * patches)
    gaussian = [torch.distributions.MultivariateNormal(centre, mix.T @ mix) for centre in centres]
    x = values[:50].flatten(0, 1)
    wanted = torch.stack([own.log_prob(x) for own in gaussian], 1).log_softmax(1)
    torch.testing.assert_close((x @ slopes + offsets).log_softmax(1), wanted, atol=0.3, rtol=0.1)


def test_a_token_that_is_loud_everywhere_does_not_draw_all_patches():
    """What it has in common with all places tells none of them: a patch chooses by probabilities, not by scores."""
    slopes = torch.tensor([[1.0, -1.0], [5.0, 5.0]])
    placer = Discriminant(torch.zeros(2), torch.ones(2), slopes, torch.zeros(2), False, False)
    tokens = TokenBatch(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]), torch.tensor([2]))
    told = placer.told(tokens)
    assert (tokens.values @ slopes).argmax(0).tolist() == [1, 1] and told.argmax(0).tolist() == [0, 1]
    torch.testing.assert_close(told.exp().sum(1), torch.ones(2))


def test_a_token_that_seems_to_stand_for_many_patches_draws_more_of_them():
    """Both tell as much of both places; one value tells that a token stands for three patches."""
    values = torch.tensor([[0.0], [1.0]]).repeat(50, 1) + 0.01 * torch.randn(100, 1)
    source = torch.tensor([0, 1, 1, 1]).expand(50, -1)
    held = _sizes(values, source, 2 * torch.arange(50))
    assert (torch.tensor([[0.0, 1.0], [1.0, 1.0]]) @ held).exp().tolist() == pytest.approx([1, 3], rel=0.05)
    placer = Discriminant(torch.zeros(1), torch.ones(1), torch.zeros(1, 4), torch.zeros(4), False, False, None, held)
    told = placer.told(TokenBatch(torch.tensor([[0.0], [1.0]]), torch.tensor([2])))
    assert told.argmax(0).tolist() == [1] * 4
    torch.testing.assert_close(told.exp().sum(1), torch.tensor([1.0, 3.0]), rtol=0.05, atol=0)
    assert _sizes(values, torch.tensor([0, 1]).expand(50, -1), 2 * torch.arange(50)) is None


def test_what_learns_to_place_begins_with_the_same_probabilities():
    """Before its first step it puts patches where the closed form does, and believes half of it."""
    torch.manual_seed(0)
    told = torch.stack([torch.randn(4, 6), 40 + 0.1 * torch.randn(4, 6)], 1).flatten(0, 1).log_softmax(-1)
    tokens = TokenBatch(torch.cat([torch.randn(8, 3), told], 1), torch.tensor([4, 4]))
    scores = Matcher(3, 6, 8, 1)(*tokens.padded(), 0)
    torch.testing.assert_close(scores, 0.5 * told.reshape(2, 4, 6).transpose(1, 2))


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_merging_by_a_map_gives_tokens_of_that_map(seed):
    """In whatever way patches are grouped; and each group's token is their average."""
    torch.manual_seed(seed)
    source = torch.randint(0, 4, (2, 6))
    unmerged = TokenBatch.dense(torch.randn(2, 7, 3), 1)
    merged = together(unmerged, source, "mean")
    assert merged.source is not None
    same = source[:, :, None] == source[:, None, :]
    assert torch.equal(merged.source[:, :, None] == merged.source[:, None, :], same)
    grid = unmerged.values.view(2, 7, 3)[:, 1:]
    wanted = same.float() @ grid / same.sum(-1, keepdim=True)
    torch.testing.assert_close(per_patch(merged)[:, 1:], wanted)


@pytest.fixture(scope="module")
def shuffled():
    """A noiseless link of unmerged tokens, an adversary's likelihood, her own pictures and what she saw of others."""
    link = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3), channel=channels.parse("noiseless"))
    auxiliary, victims = pictures(80), pictures(8, seed=1)
    torch.manual_seed(0)
    session = Session(link, SHUFFLED, auxiliary, campaign=Campaign(quick=True))
    likelihood = Likelihood(session.oracle())
    _, seen, truth = session.victims(victims)
    return likelihood, victims, seen, truth


def test_the_true_picture_puts_every_token_into_its_place(shuffled):
    likelihood, victims, seen, truth = shuffled
    random = torch.stack([torch.randperm(truth.shape[1]) + 1 for _ in victims])
    wrong = replace(seen, tokens=replace(seen.tokens, source=random))
    assert torch.equal(likelihood.realigned(wrong, victims).tokens.source, truth)


def test_another_picture_does_not(shuffled):
    likelihood, victims, seen, truth = shuffled
    aligned = likelihood.align(seen)
    found = likelihood.realigned(aligned, victims.roll(1, 0)).tokens.source
    assert float((found == truth).float().mean()) < 0.9


def test_a_map_that_is_there_is_kept(shuffled):
    likelihood, _, seen, truth = shuffled
    told = replace(seen, tokens=replace(seen.tokens, source=truth))
    assert isinstance(likelihood.alignment, Alignment)
    assert likelihood.align(told) is told


class Known:
    """A start that is given by somebody who knows the originals."""

    def __init__(self, originals):
        self.originals = originals

    def reconstruct(self, seen):
        return self.originals


def test_alternating_puts_tokens_where_its_reconstruction_expects_them(shuffled):
    _, victims, seen, truth = shuffled
    link = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3), channel=channels.parse("noiseless"))
    torch.manual_seed(0)
    attack = Session(link, SHUFFLED, pictures(80), campaign=Campaign(quick=True)).fitted(Alternating)
    posterior = attack.posterior
    torch.testing.assert_close(attack.reconstruct(seen), posterior.begin(seen)[1])
    posterior.start, posterior.rounds = Known(victims), 0
    assert float((attack.recover(seen) == truth).double().mean()) < 0.9
    posterior.rounds = 1
    assert torch.equal(attack.recover(seen), truth) and torch.equal(attack.reconstruct(seen), victims)


@pytest.mark.parametrize("name", ["server", "server-shuffled", "server-no-map"])
def test_alternating_runs_where_the_map_is_hidden_and_claims_no_map_that_it_was_told(name):
    link = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3))
    hidden = Knowledge.MERGE_MAP not in PRESETS[name].knows
    assert ("alternating" in choose_attacks((), PRESETS[name])[0]) == hidden
    session = Session(link, PRESETS[name], pictures(40), campaign=Campaign(quick=True))
    found = session.fitted(Alternating).recover(session.victims(pictures(4, seed=1))[1])
    assert (found is not None) == hidden


def test_the_order_of_unmerged_tokens_is_their_place():
    link, auxiliary, victims = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3)), pictures(60), pictures(8, seed=1)
    ordered = ThreatModel("ordered").without_knowledge(Knowledge.MERGE_MAP | Knowledge.SIZES)
    torch.manual_seed(0)
    session = Session(link, ordered, auxiliary, campaign=Campaign(quick=True))
    _, seen, truth = session.victims(victims)
    assert torch.equal(session.fitted(Alignment).complete(seen).tokens.source, truth)
