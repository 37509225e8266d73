"""Packed tokens against a plain model of them: lists of what each token of each image is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atm.tokens import NOWHERE, TokenBatch


@dataclass(frozen=True)
class Plain:
    """A token: its value, its size, its place, and which patches ended in it."""

    value: float
    size: float
    place: int
    patches: frozenset[int]


@st.composite
def batches(draw: st.DrawFn) -> TokenBatch:
    """Tokens as they may stand anywhere on the way: merged, dropped (`NOWHERE`), padded (size 0)."""
    prefix, patches = draw(st.integers(0, 2)), draw(st.integers(1, 7))
    lengths, sources, sizes = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        free = draw(st.integers(1, 8))
        choices = st.sampled_from([NOWHERE, *range(prefix, prefix + free)])
        source = torch.tensor(draw(st.lists(choices, min_size=patches, max_size=patches)))
        sizes += [torch.ones(prefix), torch.bincount(source[source != NOWHERE], minlength=prefix + free)[prefix:]]
        lengths.append(prefix + free)
        sources.append(source)
    total = sum(lengths)
    return TokenBatch(
        values=torch.arange(1.0, total + 1)[:, None].repeat(1, 2),
        lengths=torch.tensor(lengths),
        sizes=torch.cat(sizes).float(),
        source=torch.stack(sources),
        prefix=prefix,
        places=torch.randperm(total, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))),
    )


def plain(tokens: TokenBatch) -> list[list[Plain]]:
    """The model of a batch; asserts that it is consistent."""
    assert tokens.sizes is not None and tokens.source is not None and tokens.places is not None
    assert len(tokens.values) == len(tokens.sizes) == len(tokens.places) == sum(tokens.counts)
    images, row = [], 0
    for count, source in zip(tokens.counts, tokens.source.tolist(), strict=True):
        assert all(token == NOWHERE or tokens.prefix <= token < count for token in source)
        images.append([])
        for number in range(count):
            ended = frozenset(patch for patch, token in enumerate(source) if token == number)
            own = (float(tokens.values[row, 0]), float(tokens.sizes[row]), int(tokens.places[row]))
            images[-1].append(Plain(*own, ended))
            row += 1
    return images


def lost(tokens: TokenBatch) -> list[set[int]]:
    return [{p for p, token in enumerate(source) if token == NOWHERE} for source in tokens.source.tolist()]


def same(first: TokenBatch, second: TokenBatch) -> bool:
    fields = ("values", "lengths", "sizes", "source", "places")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in fields)


@given(batches(), st.integers(0, 2**20))
def test_shuffling_keeps_every_token_whole_and_can_be_undone(tokens: TokenBatch, seed: int) -> None:
    shuffled, rows = tokens.shuffled(torch.Generator().manual_seed(seed))
    assert torch.equal(shuffled.values, tokens.values[rows])
    for before, after in zip(plain(tokens), plain(shuffled), strict=True):
        assert before[: tokens.prefix] == after[: tokens.prefix], "protected tokens stay first"
        assert set(before) == set(after)
    assert lost(shuffled) == lost(tokens)
    assert torch.equal(shuffled.per_patch(), tokens.per_patch())
    assert same(shuffled.rearranged(rows.argsort(), tokens.lengths), tokens)


def test_every_order_is_as_likely_as_any_other() -> None:
    tokens = replace(TokenBatch.dense(torch.arange(4.0)[None, :, None], 1), places=torch.arange(4))
    generator = torch.Generator().manual_seed(0)
    orders = [tuple(tokens.shuffled(generator)[1].tolist()) for _ in range(1200)]
    assert len(set(orders)) == 6
    assert all(140 < orders.count(order) < 260 for order in set(orders))  # 200 each; 13 is their deviation


@given(batches(), st.data())
def test_rearranging_leaves_out_repeats_and_reorders(tokens: TokenBatch, data: st.DataObject) -> None:
    begin, rows, lengths, expected = 0, [], [], []
    gone = lost(tokens)
    for image, before in enumerate(plain(tokens)):
        free = range(tokens.prefix, len(before))
        chosen = [*range(tokens.prefix), *data.draw(st.lists(st.sampled_from(free), max_size=10))]
        first = {number: place for place, number in reversed(list(enumerate(chosen)))}
        expected.append(
            [
                replace(before[n], patches=before[n].patches if first[n] == place else frozenset())
                for place, n in enumerate(chosen)
            ]
        )
        gone[image] = gone[image].union(*[before[n].patches for n in free if n not in first])
        rows += [begin + number for number in chosen]
        lengths.append(len(chosen))
        begin += len(before)
    moved = tokens.rearranged(torch.tensor(rows, dtype=torch.long), torch.tensor(lengths))
    assert plain(moved) == expected and lost(moved) == gone


@given(batches(), st.data())
def test_only_keeps_what_a_mask_says(tokens: TokenBatch, data: st.DataObject) -> None:
    mask = torch.tensor([rank < tokens.prefix or data.draw(st.booleans()) for rank in tokens.rank.tolist()])
    left = tokens.only(mask)
    kept = iter(mask.tolist())
    assert plain(left) == [[token for token in image if next(kept)] for image in plain(tokens)]


@given(batches())
def test_without_padding_no_token_of_size_0_is_left_and_the_rows_say_which_were(tokens: TokenBatch) -> None:
    real, rows = tokens.without_padding()
    assert plain(real) == [[token for token in image if token.size > 0] for image in plain(tokens)]
    assert torch.equal(real.values, tokens.values[rows]) and real.padding is None
    assert lost(real) == lost(tokens), "no patch ends in padding"
    unknown = replace(tokens, sizes=None)
    assert unknown.padding is None and unknown.without_padding()[0] is unknown


@given(batches(), st.data())
def test_without_patches_no_token_of_dropped_patches_alone_is_left(tokens: TokenBatch, data: st.DataObject) -> None:
    patches = tokens.source.shape[1]
    dropped = [data.draw(st.sets(st.integers(0, patches - 1))) for _ in tokens.counts]
    left = tokens.without_patches(torch.tensor([[p in gone for p in range(patches)] for gone in dropped]))
    expected = [
        image if len(gone) == patches else [token for token in image if not token.patches or token.patches - gone]
        for image, gone in zip(plain(tokens), dropped, strict=True)
    ]
    assert plain(left) == expected


def test_what_a_defence_dropped_can_be_dropped_again_from_its_map() -> None:
    sent = TokenBatch.dense(torch.randn(3, 9, 4), 1)
    seen = sent.only(torch.tensor([rank == 0 or rank % 3 > 0 for rank in sent.rank.tolist()]))
    again = sent.without_patches(seen.source == NOWHERE)
    assert torch.equal(again.values, seen.values) and torch.equal(again.source, seen.source)


@given(batches(), st.data())
def test_images_are_selected_with_all_that_is_theirs(tokens: TokenBatch, data: st.DataObject) -> None:
    images = data.draw(st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=6))
    assert plain(tokens.select(images)) == [plain(tokens)[image] for image in images]
    assert same(TokenBatch.cat([tokens.select([image]) for image in range(len(tokens))]), tokens)


@given(batches())
def test_every_patch_has_the_value_of_its_token_or_nothing(tokens: TokenBatch) -> None:
    for own, image in zip(tokens.per_patch()[:, :, 0].tolist(), plain(tokens), strict=True):
        assert own == [sum(token.value for token in image if patch in token.patches) for patch in range(len(own))]


@given(batches())
def test_padded_to_the_longest_each_token_stands_at_its_rank(tokens: TokenBatch) -> None:
    values, mask = tokens.padded()
    for own, there, image in zip(values[:, :, 0].tolist(), mask.tolist(), plain(tokens), strict=True):
        assert own == [token.value for token in image] + [0.0] * (len(own) - len(image))
        assert there == [True] * len(image) + [False] * (len(own) - len(image))


def test_without_the_map_nothing_is_said_of_patches() -> None:
    tokens = replace(TokenBatch.dense(torch.randn(1, 3, 2), 1), source=None)
    for ask in (tokens.per_patch, lambda: tokens.without_patches(torch.zeros(1, 2, dtype=torch.bool))):
        with pytest.raises(ValueError, match="merge map"):
            ask()
