"""The merge against a brute-force one, written here with loops from the paper's text."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm import merging
from atm.policy import AVERAGES, SIMILARITIES
from tests.atm.models import random_tokens


def brute_force(
    x, metric, sizes, source, prefix, average, threshold=None, remove=None, order="place", similarity="cosine"
):
    """One image: lists of tokens in, lists of tokens out."""

    def cosine(a, b):
        return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))

    def alike(i, j):
        if similarity == "cosine":
            return cosine(metric[i], metric[j])
        # the error of a merge, in units of that of two single patches
        n, m = float(sizes[i]), float(sizes[j])
        return 1 - (n * m / (n + m)) / (1 * 1 / (1 + 1)) * (1 - cosine(metric[i], metric[j]))

    # the alternation begins with the first free token, or as in ToMe with the first token of all
    begin = prefix if order == "place" else 0
    sources = [t for t in range(begin, len(x), 2) if t >= prefix]
    destinations = [t for t in range(begin + 1, len(x), 2) if t >= prefix]
    free, candidates = len(x) - prefix, []
    for i in sources:
        if destinations:
            best = max(destinations, key=lambda j: alike(i, j))
            candidates.append((alike(i, best), i, best))
    if threshold is not None:
        chosen = [c for c in candidates if c[0] > threshold]
    else:
        chosen = sorted(candidates, key=lambda c: -c[0])[: min(remove, free // 2)]
    into = {i: j for _, i, j in chosen}
    out_x, out_sizes, place = [], [], {}
    sequence = range(len(x))
    if order == "tome" and into:
        held = [t for t in sequence if t < prefix]
        sequence = held + [t for t in sources if t not in into] + destinations
        assert len(sequence) == len(x) - len(into)
    for t in sequence:
        if t in into:
            continue
        group = [t] + [i for i, j in into.items() if j == t]
        if average == "norm":
            weights = [float(x[k].norm()) for k in group]
        elif average == "size":
            weights = [float(sizes[k]) for k in group]
        else:
            weights = [1.0] * len(group)
        merged = sum(w * x[k] for w, k in zip(weights, group, strict=True)) / sum(weights)
        place.update({k: len(out_x) for k in group})
        out_x.append(merged)
        out_sizes.append(sum(float(sizes[k]) for k in group))
    return torch.stack(out_x), torch.tensor(out_sizes), torch.tensor([place[int(s)] for s in source])


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 14), min_size=1, max_size=5),
    equal=st.booleans(),
    prefix=st.integers(0, 2),
    threshold=st.one_of(st.none(), st.floats(-0.5, 1.0)),
    remove=st.integers(0, 9),
    average=st.sampled_from(AVERAGES),
    order=st.sampled_from(("place", "tome")),
    similarity=st.sampled_from(SIMILARITIES),
    padded=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_merge_equals_brute_force(lengths, equal, prefix, threshold, remove, average, order, similarity, padded, seed):
    lengths = [max(length, prefix + 1) for length in lengths]
    if equal:
        lengths = lengths[:1] * len(lengths)
    tokens = random_tokens(lengths, prefix, seed=seed)
    metric = torch.randn(len(tokens.values), 4, generator=torch.Generator().manual_seed(seed + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "CALL", torch.inf if padded else 0)
        matches = merging.match(tokens, metric, order, similarity)
    if threshold is None:
        matches = merging.most_similar(tokens, matches, remove)
    else:
        matches = merging.above(matches, threshold)
    merged = merging.merge(tokens, matches, average, order)

    for image in range(len(tokens)):
        one, got = tokens.select([image]), merged.select([image])
        rows = slice(int(tokens.offsets[image]), int(tokens.offsets[image]) + lengths[image])
        x, sizes, source = brute_force(
            one.values, metric[rows], one.sizes, one.source[0], prefix, average, threshold, remove, order, similarity
        )
        assert got.counts == [len(x)]
        torch.testing.assert_close(got.values, x, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(got.sizes, sizes)
        assert got.source[0].tolist() == source.tolist()
    assert merged.sizes.sum() == tokens.sizes.sum()


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(2, 12), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_an_image_does_not_depend_on_its_batch(lengths, seed):
    tokens = random_tokens(lengths, seed=seed)
    together = merging.merge(tokens, merging.above(merging.match(tokens, tokens.values), 0.2))
    for image in range(len(lengths)):
        alone = tokens.select([image])
        merged = merging.merge(alone, merging.above(merging.match(alone, alone.values), 0.2))
        torch.testing.assert_close(merged.values, together.select([image]).values)


def test_tokens_that_take_no_part_keep_their_bits():
    tokens = random_tokens([9, 12])
    matches = merging.match(tokens, tokens.values).where(torch.tensor([0]))
    merged = merging.merge(tokens, matches)
    kept = torch.ones(len(tokens.values), dtype=torch.bool)
    kept[[int(matches.source[0]), int(matches.destination[0])]] = False
    rows = {tuple(row) for row in merged.values.tolist()}
    assert all(tuple(row) in rows for row in tokens.values[kept].tolist())


def test_zero_tokens_merge_without_nan():
    tokens = random_tokens([6])
    tokens = tokens.with_values(torch.zeros_like(tokens.values))
    matches = merging.match(tokens, torch.ones(6, 2))
    assert merging.merge(tokens, matches).values.isfinite().all()


def test_merging_needs_sizes_and_map():
    tokens = random_tokens([6])
    blind = type(tokens)(tokens.values, tokens.lengths, prefix=1)
    with pytest.raises(ValueError, match="sizes"):
        merging.merge(blind, merging.match(tokens, tokens.values))


def test_gradient_of_the_merge_is_that_of_its_formula():
    tokens = random_tokens([7], width=3)
    matches = merging.above(merging.match(tokens, tokens.values), -1.0)
    x = tokens.values.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: merging.merge(tokens.with_values(v), matches).values, x)


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=3), prefix=st.integers(0, 2), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=60)
def test_a_source_takes_the_best_destination_of_its_own_group(lengths, prefix, seed):
    """Against all pairs; with a single group, what is matched without any."""
    tokens = random_tokens([length + prefix for length in lengths], prefix, seed=seed)
    random = torch.Generator().manual_seed(seed)
    metric = torch.randn(len(tokens.values), 4, generator=random)
    groups = torch.randint(2, (len(metric),), generator=random)
    matches = merging.match(tokens, metric, groups=groups)
    unit = torch.nn.functional.normalize(metric, dim=-1)
    for source, destination, image in zip(matches.source, matches.destination, matches.image, strict=True):
        begin, count = int(tokens.offsets[image]), tokens.counts[int(image)]
        others = [row for row in range(begin + prefix + 1, begin + count, 2) if groups[row] == groups[source]]
        if others:
            assert int(destination) == max(others, key=lambda row: float(unit[source] @ unit[row]))
    alone, plain = merging.match(tokens, metric, groups=torch.zeros_like(groups)), merging.match(tokens, metric)
    assert torch.equal(alone.source, plain.source) and torch.equal(alone.destination, plain.destination)
