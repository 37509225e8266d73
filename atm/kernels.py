"""Merging as loops over arrays, compiled by numba (extra ``fast``).

A call takes a whole ragged batch, runs in the thread that makes it, and holds no interpreter lock. `atm.compiled` says
what comes here; what the numbers mean stands in `atm.merging`, which computes the same.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Sums in an order that suits vector units; NaN stays NaN.
_compile = njit(nogil=True, cache=True, fastmath={"reassoc", "contract"}, error_model="numpy")

NORM, SIZE, MEAN = 0, 1, 2  # weights of an average
TINY, LEAST = np.float32(np.finfo(np.float32).tiny), np.float32(1e-12)  # of a weight; of a norm that divides
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LANES = 16  # numbers to a multiple of which rows are filled up, so that no remainder is left to plain loops


@_compile
def _filled(count, to):  # type: ignore[no-untyped-def]
    return (count + to - 1) // to * to


@_compile
def _products(rows, columns, out):  # type: ignore[no-untyped-def]
    """``out[r, i] += sum_k rows[r, k] columns[k, i]``, two r and four k at a time; both are filled up to multiples."""
    inner, lanes = columns.shape
    for r in range(0, len(out), 2):
        for k in range(0, inner, 4):
            a0, a1, a2, a3 = rows[r, k], rows[r, k + 1], rows[r, k + 2], rows[r, k + 3]
            b0, b1, b2, b3 = rows[r + 1, k], rows[r + 1, k + 1], rows[r + 1, k + 2], rows[r + 1, k + 3]
            for i in range(lanes):
                c0, c1, c2, c3 = columns[k, i], columns[k + 1, i], columns[k + 2, i], columns[k + 3, i]
                out[r, i] += a0 * c0 + a1 * c1 + a2 * c2 + a3 * c3
                out[r + 1, i] += b0 * c0 + b1 * c1 + b2 * c2 + b3 * c3


@_compile
def _unit(metric, first, width, unit):  # type: ignore[no-untyped-def]
    row = metric[first : first + width]
    total = ZERO
    for k in range(width):
        total += row[k] * row[k]
    norm = max(np.sqrt(total), LEAST)
    for k in range(width):
        unit[k] = row[k] / norm


@_compile
def _match(metric, stride, width, sizes, sized, first, second, count, others, best, choice):  # type: ignore[no-untyped-def]
    """Similarity and number of the best destination for the sources of an image; of equal ones the first."""
    sources = np.zeros((_filled(count, 2), _filled(width, 4)), np.float32)
    destinations = np.zeros((sources.shape[1], _filled(others, LANES)), np.float32)
    for i in range(count):
        _unit(metric, (first + 2 * i) * stride, width, sources[i])
    for j in range(others):
        _unit(metric, (second + 2 * j) * stride, width, destinations[:, j])
    cosines = np.zeros((len(sources), destinations.shape[1]), np.float32)
    _products(sources, destinations, cosines)
    for i in range(count):
        most, nearest, n = cosines[i, 0], 0, sizes[first + 2 * i]
        for j in range(others):
            found = cosines[i, j]
            if sized:
                m = sizes[second + 2 * j]
                found = ONE - TWO * n * m / max(n + m, ONE) * (ONE - found)
            # Like torch's maximum: what is no number is the most of all.
            if j == 0 or (not found <= most and most == most):
                most, nearest = found, j
        best[i], choice[i] = most, nearest


@_compile
def _weight(x, sizes, row, average):  # type: ignore[no-untyped-def]
    if average == SIZE:
        return sizes[row]
    if average == MEAN:
        return ONE
    total = ZERO
    for k in range(x.shape[1]):
        total += x[row, k] * x[row, k]
    return max(np.sqrt(total), TINY)


@_compile
def merge(  # type: ignore[no-untyped-def]
    x, metric, stride, width, lengths, sizes, source, places, prefix, lead, threshold, remove, sized, average, tome
):
    """What `atm.merging` does at a layer: matching, choice, merge.

    Args:
        x: ``[T, d]`` tokens.
        metric: flat; row t begins at ``t * stride`` and has ``width`` values.
        stride: see above.
        width: see above.
        lengths: ``[B]``.
        sizes: ``[T]``.
        source: ``[B, P]``, the merge map; negative is nowhere.
        places: ``[T]``, or nothing ``[0]``.
        prefix: protected tokens.
        lead: 1 where the first free token is a destination, else 0.
        threshold: pairs above it merge.
        remove: in place of the threshold, so many pairs in each image; negative is none.
        sized: whether similarities are size-aware.
        average: one of `NORM`, `SIZE`, `MEAN`.
        tome: whether what is left of the sources stands before the destinations.

    Returns:
        x, lengths, sizes, source, places of what is left.
    """
    total, mapped = len(x), source.shape[1]
    into = np.full(total, -1, np.int64)  # the row that a token merges into
    best, choice = np.empty(total, np.float32), np.empty(total, np.int64)
    new_lengths = lengths.copy()
    begin = 0
    for image in range(len(lengths)):
        free = lengths[image] - prefix
        if free > 1:
            first, second = begin + prefix + lead, begin + prefix + 1 - lead
            count, others = (free + 1 - lead) // 2, (free + lead) // 2
            alike, nearest = best[:count], choice[:count]
            end = begin + lengths[image]
            _match(metric, stride, width, sizes[:end], sized, first, second, count, others, alike, nearest)
            if remove >= 0:
                for i in np.argsort(-alike, kind="mergesort")[: min(remove, free // 2)]:
                    into[first + 2 * i] = second + 2 * nearest[i]
                new_lengths[image] -= min(remove, free // 2, count)
            else:
                for i in range(count):
                    if alike[i] > threshold:
                        into[first + 2 * i] = second + 2 * nearest[i]
                        new_lengths[image] -= 1
        begin += lengths[image]

    left = new_lengths.sum()
    new_x, new_sizes = np.empty((left, x.shape[1]), np.float32), np.empty(left, np.float32)
    new_source, new_places = np.empty((len(lengths), mapped), np.int64), np.empty(min(left, len(places)), np.int64)
    new_row = choice  # of each token that is left; nobody asks for choices any more
    weight, summed = best, np.zeros(total, np.float32)
    begin = new_begin = 0
    for image in range(len(lengths)):
        end = begin + lengths[image]
        # In the order of ToMe in two rounds: those of even rank, which are the sources, then the destinations.
        rounds = 2 if tome and new_lengths[image] < lengths[image] else 1
        row = new_begin
        for turn in range(rounds):
            for t in range(begin, end):
                later = rounds == 2 and t - begin >= prefix and (t - begin) % 2 == 1
                if into[t] < 0 and later == (turn == 1):
                    new_row[t] = row
                    new_x[row] = x[t]
                    new_sizes[row] = sizes[t]
                    if len(places):
                        new_places[row] = places[t]
                    row += 1
        for t in range(begin, end):
            if into[t] >= 0:
                weight[t] = _weight(x, sizes, t, average)
                if summed[into[t]] == ZERO:
                    summed[into[t]] = _weight(x, sizes, into[t], average)
                summed[into[t]] += weight[t]
        for t in range(begin, end):
            j = into[t]
            if j >= 0:
                share, row = weight[t] / summed[j], new_row[j]
                for k in range(x.shape[1]):
                    new_x[row, k] += share * (x[t, k] - x[j, k])
                new_sizes[row] += sizes[t]
                new_row[t] = row
        for p in range(mapped):
            old = source[image, p]
            new_source[image, p] = old if old < 0 else new_row[begin + old] - new_begin
        begin, new_begin = end, new_begin + new_lengths[image]
    return new_x, new_lengths, new_sizes, new_source, new_places
