"""Labelled sentences as a victim's tokenizer cuts them, and their division between victims and adversary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from atm.data import sentences
from atm.data.asked import Choice, Division
from atm.data.sentences import Sentences
from atm.data.sets import Samples, Splits, sample
from atm.errors import AtmError, unknown
from atm.rows import Held
from atm.signals import Signal, TextSignal
from atm.signals.text import SHORTEST
from atm.text import counted, printable, told_of
from privacy_metrics.words import NO_WORD

HELD_OUT = 0.1  # of the adversary's sentences, for validation
AT_ONCE = 4096  # sentences that are cut into words at a time
ALIKE = 0.8  # of the words of two sentences together are in both: near-duplicates

NO_GROUPS = "--group-by reads groups from paths of pictures; sentences have none"
NO_PATHS = "--label-by reads classes from paths; sentences have them in a column of their file"


class Wanted(NamedTuple):
    """Which sentences of a file are asked for; `atm.data.load` has the meaning."""

    limit: int | None = None
    seed: int = 0
    distinct: bool = False
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TextSet(Samples):
    """Labelled sentences, kept as ``[N, L]`` int64: numbers of words, `NO_WORD` behind the end of a sentence."""

    @property
    def words(self) -> Tensor:
        """``[N, L]`` int64."""
        return self.kept

    @property
    def inputs(self) -> Tensor:
        """The words."""
        return self.words

    def with_more(self, *others: TextSet) -> Held:
        """``[N, L]``."""
        return Held(torch.cat([self.words, *(other.words for other in others)]))


class Texts:
    """Sentences from files; `atm.data.sentences` has their formats."""

    def load(self, signal: Signal, name: str, split: str = "test", **choice: Unpack[Choice]) -> TextSet:
        """Sentences of a file, or of the file of a split in a folder; see `atm.data.load`.

        Raises:
            AtmError: there is no such file, it cannot be read, or nothing in it can be used; or labels or groups in
                paths.
        """
        if choice.get("group_by") is not None:
            raise AtmError(NO_GROUPS)
        if choice.get("label_by") is not None:
            raise AtmError(NO_PATHS)
        if split not in sentences.PARTS:
            raise unknown("split", split, sentences.PARTS)
        path, _ = sentences.find(name, split)
        wanted = Wanted(
            choice.get("limit"), choice.get("seed", 0), choice.get("distinct", False), choice.get("seen", ())
        )
        shown = printable(Path(name).name or name)
        return _chosen(_text(signal), shown, sentences.read(path), wanted)

    def splits(self, signal: Signal, name: str, **division: Unpack[Division]) -> Splits[TextSet]:
        """Sentences for an attack, no two of the same words; see `atm.data.splits`.

        Raises:
            AtmError: too few sentences, or groups, which sentences have not.
        """
        if division.get("group_by") is not None:
            raise AtmError(NO_GROUPS)
        if division.get("label_by") is not None:
            raise AtmError(NO_PATHS)
        victims, auxiliary, seed = division["victims"], division["auxiliary"], division.get("seed", 0)
        own = division.get("auxiliary_name") or (name if sentences.has_train(name) else None)
        if own is None:
            whole = self.load(signal, name, limit=victims + auxiliary, seed=seed, distinct=True)
            attacked, hers = whole.subset(range(min(victims, len(whole)))), whole.subset(range(victims, len(whole)))
            copies = whole.copies
        else:
            attacked = self.load(signal, name, limit=victims, seed=seed, distinct=True)
            hers = self.load(signal, own, "train", limit=auxiliary, seed=seed + 1, distinct=True, seen=attacked.hashes)
            copies = attacked.copies + hers.copies
        hers, alike = apart(hers, attacked)
        if len(attacked) < victims or len(hers) < 2:
            raise AtmError(
                f"{printable(name)} has {counted(len(attacked), 'sentence')} to attack and {len(hers)} others for the "
                f"adversary; {victims} and at least 2 are needed"
            )
        begin = len(hers) - max(round(HELD_OUT * len(hers)), 1)
        return Splits(attacked, hers.subset(range(begin)), hers.subset(range(begin, len(hers))), copies, alike)

    def apart(self, signal: Signal, own: TextSet, attacked: TextSet) -> tuple[TextSet, int]:
        """See the function `apart`."""
        return apart(own, attacked)

    def sample(self, signal: Signal, count: int) -> Tensor:
        """Sentences of random words, of every length."""
        random, longest = torch.Generator().manual_seed(0), signal.places
        words = torch.randint(len(_text(signal).pieces), (count, longest), generator=random)
        lengths = torch.randint(min(SHORTEST, longest), longest + 1, (count, 1), generator=random)
        return words.masked_fill(torch.arange(longest) >= lengths, NO_WORD)


def _text(signal: Signal) -> TextSignal:
    assert isinstance(signal, TextSignal)
    return signal


def _cut(signal: TextSignal, found: Sentences, rows: Tensor) -> tuple[TextSet, int, int]:
    """Some of the sentences of a file as words, without those that are too short, and how many were so or were cut."""
    cut = signal.cut([found.texts[row] for row in rows.tolist()])
    usable = [number for number, words in enumerate(cut) if len(words) >= SHORTEST]
    words = signal.blank(len(usable))
    for line, number in zip(words, usable, strict=True):
        line[: len(cut[number])] = torch.tensor(cut[number][: signal.longest])
    labels = torch.tensor([found.labels[int(rows[number])] for number in usable], dtype=torch.long)
    long = sum(len(cut[number]) > signal.longest for number in usable)
    return TextSet("", words, labels, found.classes), len(cut) - len(usable), long


def _chosen(signal: TextSignal, name: str, found: Sentences, wanted: Wanted) -> TextSet:
    """At most so many usable sentences in random order, or all of them in theirs."""
    count = len(found.texts)
    order = torch.arange(count) if wanted.limit is None else sample(count, None, wanted.seed)
    parts, short, long, seen, copies = list[TextSet](), 0, 0, set(wanted.seen), 0
    for rows in order.split(AT_ONCE if wanted.limit is None else min(AT_ONCE, 2 * wanted.limit)):
        part, too_short, too_long = _cut(signal, found, rows)
        if wanted.distinct:
            part = part.distinct(tuple(seen))
            seen |= set(part.hashes)
        parts.append(part)
        short, long, copies = short + too_short, long + too_long, copies + part.copies
        if wanted.limit is not None and sum(map(len, parts)) >= wanted.limit:
            break
    skipped = [told_of(number, reason) for reason, number in found.skipped.items()]
    skipped += [told_of(short, f"sentences have fewer than {SHORTEST} words")] * bool(short)
    if not sum(map(len, parts)):
        why = f": {', '.join(skipped)}" if skipped else ""
        raise AtmError(f"{printable(name)} holds no usable sentence of {SHORTEST} words or more{why}")
    notes = (told_of(long, f"sentences are longer than {signal.longest} words, and cut to so many"),)
    words, labels = (torch.cat(each)[: wanted.limit] for each in ([p.words for p in parts], [p.labels for p in parts]))
    return TextSet(name, words, labels, found.classes, tuple(skipped), notes * bool(long), copies)


def apart(own: TextSet, attacked: TextSet) -> tuple[TextSet, int]:
    """The adversary's sentences without near-duplicates of attacked ones (`ALIKE`), and how many these were."""
    if not len(own) or not len(attacked):
        return own, 0
    most = int(max(own.words.max(), attacked.words.max())) + 1
    mine, theirs = (_sets(each.words, most) for each in (own, attacked))
    both = (mine @ theirs.T).toarray()
    either = mine.sum(1).A1[:, None] + theirs.sum(1).A1[None] - both
    keep = torch.from_numpy(np.flatnonzero((both < ALIKE * either).all(1)))
    return (own if len(keep) == len(own) else own.subset(keep)), len(own) - len(keep)


def _sets(words: Tensor, most: int) -> csr_matrix:
    """``[N, most]`` of 0 and 1: which words each sentence has."""
    row, place = (words != NO_WORD).nonzero(as_tuple=True)
    pairs = torch.stack([row, words[row, place]]).unique(dim=1).numpy()
    return csr_matrix((np.ones(pairs.shape[1]), pairs), shape=(len(words), most))
