"""Where patches went is scored against the device's own map, and by brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.data import ImageSet, Splits
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS
from atm.tokens import NOWHERE
from audit.harm import labels, placed
from tests.atm.models import tiny_encoder


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=5, max_size=5), min_size=1))
def test_rates_are_what_counting_gives(rows):
    recovered = torch.tensor([[mine for mine, _ in row] for row in rows])
    truth = torch.tensor([[NOWHERE if true < 0 else true for _, true in row] for row in rows])
    found = placed(recovered, truth)
    for i, row in enumerate(rows):
        there = [(mine, true) for mine, true in row if true >= 0]
        number = max(len(there), 1)
        assert float(found["placed"][i]) == pytest.approx(sum(mine == true for mine, true in there) / number)
        largest = max((sum(t == token for _, t in there) for token in range(4)), default=0)
        assert float(found["placed_blindly"][i]) == pytest.approx(largest / number)


@pytest.mark.parametrize("name", ["server", "server-no-map", "server-shuffled"])
def test_the_true_map_is_in_the_order_of_what_is_observed(name):
    link, threat = Link(tiny_encoder(), MergePolicy.uniform(0.8, 3)), PRESETS[name]
    sent = link.transmit(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)), 1)
    seen, source = threat.observe(sent, link, 5), threat.true_map(threat.hear(sent, link, 5), link, 5)
    values = seen.tokens.values
    starts = torch.tensor([0, *seen.tokens.counts[:-1]]).cumsum(0)
    assert torch.equal(values[starts[:, None] + source], sent.sent.with_values(sent.received.values).per_patch())


def shown(*labels: int, classes: tuple[str, ...] = ("a", "b", "c")) -> ImageSet:
    return ImageSet("x", torch.zeros(len(labels), 3, 4, 4, dtype=torch.uint8), torch.tensor(labels), classes)


@pytest.mark.parametrize(
    ("victims", "hers", "learned"),
    [
        ([0, 1, 2], [0, 1, 2, 0], True),
        ([0] * 9 + [2], [0, 1, 0], True),
        ([0] * 8 + [2, 2], [0, 1, 0], False),
        ([2, 2], [0, 1], False),
    ],
)
def test_labels_are_learned_only_where_she_has_pictures_of_the_victims_classes(victims, hers, learned):
    found = labels(Splits(shown(*victims), shown(*hers[:-1]), shown(hers[-1]), removed=0))
    assert (found is not None and found.tolist() == hers) == learned
    others = Splits(shown(*victims, classes=("a", "b", "d")), shown(*hers[:-1]), shown(hers[-1]), removed=0)
    assert labels(others) is None
