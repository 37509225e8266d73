"""Pictures with questions, of which one a picture is the server's, and their division between victims and adversary."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Unpack

from torch import Tensor

from atm.data import duplicates, loading, question_files
from atm.data.asked import Choice, Division
from atm.data.formats import PICTURE
from atm.data.question_files import Question
from atm.data.reading import Wanted, read_files
from atm.data.sets import ImageSet, Splits
from atm.errors import AtmError, unknown
from atm.seeds import seed_of
from atm.signals import Signal, arrays
from atm.text import printable

TOLD = frozenset({"yes", "no"})  # answers that name nothing
NO_PATHS = "--label-by and --group-by read paths of pictures; pictures with questions have their answers in files"
ONE = "one question a picture, drawn by the seed, is the server's; another one, if there is one, is the adversary's"


def words_of(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return set(re.findall(r"\w+", text.casefold()))


@dataclass(frozen=True, eq=False)
class QuestionSet(ImageSet):
    """Pictures with questions; a label is the answer to the one that the server is asked.

    Intervals are over pictures, since there is one such question for each.

    Attributes:
        table: for each picture, by its hash, its questions in random order, the server's first.
    """

    table: Mapping[str, tuple[Question, ...]] = ()  # type: ignore[assignment]

    @property
    def asked(self) -> list[tuple[Question, ...]]:
        """The questions about each picture, the server's first."""
        return [self.table[each] for each in self.hashes]

    @property
    def private(self) -> tuple[Question | None, ...]:
        """The next one that is not the server's, None where there is no other."""
        return tuple(next((q for q in each if q.text != each[0].text), None) for each in self.asked)

    @property
    def named(self) -> list[frozenset[str]]:
        """Words of answers to questions about each picture, in lower case, but for yes, no and numbers."""
        plain = [{word for each in asked for word in words_of(each.answer)} for asked in self.asked]
        return [frozenset(word for word in words - TOLD if not word.isdecimal()) for words in plain]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pictures, questions and answers, in hex."""
        return hashlib.sha256(repr((self.hashes, self.asked)).encode()).hexdigest()


class Questions:
    """Pictures with questions from folders and tars; `atm.data.question_files` has the formats."""

    def load(self, signal: Signal, name: str, split: str = "test", **choice: Unpack[Choice]) -> QuestionSet:
        """Pictures of a split with their questions; see `atm.data.load`.

        Raises:
            AtmError: there is no such folder or tar, or nothing in it can be used; or labels or groups in paths.
        """
        if choice.get("label_by") is not None or choice.get("group_by") is not None:
            raise AtmError(NO_PATHS)
        if split not in loading.SPLITS:
            raise unknown("split", split, loading.SPLITS)
        path = _path(name)
        found = question_files.read(path, split)
        channels, height, width = arrays(signal).shape
        wanted = Wanted(
            (height, width), channels, choice.get("limit"), choice.get("seed", 0), choice.get("distinct", False),
            choice.get("seen", ()),
        )  # fmt: skip
        images = read_files(printable(path.name or path), found.pictures, wanted)
        names = [found.pictures.classes[label] for label in images.labels.tolist()]
        merged: dict[str, dict[Question, None]] = {}
        for each, picture in zip(images.hashes, names, strict=True):
            merged.setdefault(each, {}).update(dict.fromkeys(found.questions[picture]))
        table = {
            each: tuple(sorted(asked, key=lambda question: seed_of(wanted.seed, key, question.text)))
            for each, asked in merged.items()
            for key in (each,)
        }
        number = {answer: place for place, answer in enumerate(found.answers)}
        labels = images.labels.new_tensor([number[table[each][0].answer] for each in images.hashes])
        made = QuestionSet(
            images.name, images.pixels, labels, found.answers, (*images.skipped, *found.skipped), (*images.notes, ONE),
            images.copies, table,
        )  # fmt: skip
        made.__dict__["hashes"] = images.hashes
        return made

    def splits(self, signal: Signal, name: str, **division: Unpack[Division]) -> Splits[QuestionSet]:
        """Test pictures to attack, and training pictures for the adversary, of which none is on both sides.

        Raises:
            AtmError: too few pictures with questions, or groups or labels in paths.
        """
        if division.get("group_by") is not None:
            raise AtmError(NO_PATHS)
        victims, seed = division["victims"], division.get("seed", 0)
        attacked = self.load(signal, name, limit=victims, seed=seed, distinct=True, label_by=division.get("label_by"))
        if len(attacked) < victims:
            raise AtmError(
                f"{printable(name)} has {len(attacked)} test pictures with questions, fewer than the {victims} to "
                "attack; ask for fewer"
            )
        own = self.load(
            signal, division.get("auxiliary_name") or name, "train", limit=division["auxiliary"], seed=seed + 1,
            distinct=True, seen=attacked.hashes,
        )  # fmt: skip
        return loading.divided(attacked, own, attacked.copies + own.copies, PICTURE.alike)

    def apart(self, signal: Signal, own: QuestionSet, attacked: QuestionSet) -> tuple[ImageSet, int]:
        """As of other pictures."""
        return duplicates.apart(own, attacked, PICTURE.alike)

    def sample(self, signal: Signal, count: int) -> Tensor:
        """The embedded photographs."""
        channels, height, width = arrays(signal).shape
        return loading.load("photos", "train", size=(height, width), channels=channels, limit=count).images


def _path(name: str) -> Path:
    try:
        path = Path(name).expanduser()
        there = bool(name.strip()) and path.exists()
    except (OSError, ValueError, RuntimeError):
        there = False
    if not there:
        raise AtmError(f"{printable(name)} is no folder or tar; this victim needs pictures with questions about them")
    return path
