"""Files of sentences with labels: what stands in them, and why some of it cannot be used."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from atm.errors import AtmError
from atm.foreign import check_regular
from atm.text import printable

SUFFIXES = (".tsv", ".csv", ".txt")
PARTS = {"train": ("train",), "test": ("dev", "val", "test")}  # what a file of a split is called, the first found
TEXTS, LABELS = ("sentence", "text"), ("label", "class")
COLA = 4  # columns of GLUE's CoLA, which has no heading: source, label, mark, sentence
MARKS = {*"*?#%"}  # with which linguists say how bad a sentence is
MOST_BYTES = 1 << 30
UNLABELLED = ("unlabelled",)


@dataclass(frozen=True)
class Sentences:
    """What a file holds.

    Attributes:
        texts: the sentences.
        labels: numbers of ``classes``.
        classes: in order; `UNLABELLED` where the file has no labels.
        skipped: how many lines could not be used, by reason.
    """

    texts: list[str]
    labels: list[int]
    classes: tuple[str, ...]
    skipped: Counter[str]


def find(name: str, split: str) -> tuple[Path, bool]:
    """The file of a split, and whether it is the split's own and not that of all.

    Args:
        name: of a file, or of a folder with ``train.tsv`` and ``dev.tsv`` or the like.
        split: ``train`` or ``test``.

    Raises:
        AtmError: there is no such file.
    """
    path = _path(name)
    try:
        folder, there = path.is_dir(), path.exists()
    except (OSError, ValueError):
        folder = there = False
    if not there:
        raise AtmError(f"{printable(name)} is no file or folder; a text victim needs sentences as tsv, csv or txt")
    if not folder:
        if path.suffix.lower() not in SUFFIXES:
            raise AtmError(f"{printable(name)} is no tsv, csv or txt file, as which a text victim needs its sentences")
        return path, False
    files = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
    for word in PARTS[split]:
        for each in files:
            if each.name.lower().startswith(word):
                return each, True
    raise AtmError(f"{printable(name)} holds no {split} sentences, such as {PARTS[split][0]}.tsv")


def has_train(name: str) -> bool:
    """Whether there is a training file beside the one with what is attacked."""
    if not _path(name).is_dir():
        return False
    try:
        return find(name, "train")[1] and find(name, "test")[1]
    except AtmError:
        return False


def read(path: Path) -> Sentences:
    """The sentences of a file.

    A ``txt`` has one a line and no labels. A ``tsv`` (without quotes) or ``csv`` has a heading that names a column
    ``sentence`` or ``text``, and ``label`` where there are labels; GLUE's CoLA is known without one.

    Raises:
        AtmError: the file cannot be read, or it is not clear which column is which.
    """
    rows = _rows(path)
    text, label = 0, None
    if path.suffix.lower() != ".txt":
        text, label, headed = _columns(rows, path)
        rows = rows[headed:]
    texts, labels, skipped = list[str](), list[str](), Counter[str]()
    for row in rows:
        if max(text, label or 0) >= len(row):
            skipped["lines have too few columns" if row else "lines are empty"] += 1
            continue
        sentence = row[text].strip()
        if not sentence:
            skipped["sentences are empty"] += 1
        elif not (sentence + row[label or 0]).isprintable() and _broken(sentence + row[label or 0]):
            skipped["lines are not UTF-8"] += 1
        else:
            texts.append(sentence)
            labels.append("" if label is None else row[label].strip())
    if label is None:
        return Sentences(texts, [0] * len(texts), UNLABELLED, skipped)
    classes = tuple(sorted(set(labels)))
    number = {name: place for place, name in enumerate(classes)}
    return Sentences(texts, [number[each] for each in labels], classes, skipped)


def _path(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # there is no such user
        return Path(name)


def _broken(text: str) -> bool:
    """Whether bytes that are no UTF-8 were read into it."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _rows(path: Path) -> list[list[str]]:
    check_regular(path, f"sentences {path}")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise AtmError(f"sentences {path} are more than {MOST_BYTES >> 30} GiB")
        content = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise AtmError(f"sentences {path} cannot be read: {error.strerror or error}") from None
    suffix = path.suffix.lower()
    if suffix == ".csv":
        try:
            return list(csv.reader(io.StringIO(content, newline="")))
        except csv.Error as error:
            raise AtmError(f"sentences {path} cannot be read: {error}") from None
    lines = [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")]
    return [line.split("\t") if suffix == ".tsv" else [line] for line in lines]


def _columns(rows: list[list[str]], path: Path) -> tuple[int, int | None, int]:
    """The columns of sentence and label, and how many lines the heading takes."""
    heading = [cell.strip().casefold() for cell in rows[0]] if rows else []
    texts, labels = ([heading.index(name) for name in names if name in heading] for names in (TEXTS, LABELS))
    if texts:
        return texts[0], labels[0] if labels else None, 1
    if rows and all(len(row) == COLA and row[1] in ("0", "1") and {*row[2]} <= MARKS for row in rows[:100]):
        return 3, 1, 0
    if rows and _broken("".join(rows[0])):
        raise AtmError(f"{path} is no UTF-8 from its first line on")
    raise AtmError(f"{path} needs a first line that names its columns: 'sentence', and 'label' where there are labels")
