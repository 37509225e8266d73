"""Questions about pictures in files beside them: which picture was asked what, and what cannot be used.

A folder or an uncompressed tar holds pictures and, above or beside them, files of questions:

- ``csv`` or ``tsv`` with a first line that names columns ``question``, ``answer`` and ``image`` (or ``image_id``), or
- ``json``, a list of objects with these names, or of lists ``[question, answer, image]``, as easy-VQA has them.

A picture is named by its path below the file's folder, or by its file name with or without ending. Pictures below
folders ``train`` and ``test`` (or ``val``) are those splits; of others a fifth, by their names, is ``test``: a picture
with all its questions is on one side, whatever files the questions come from.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from atm.data.folders import TEST_SPLITS, File, Found, listed
from atm.data.formats import PICTURE
from atm.errors import AtmError
from atm.foreign import parse_json
from atm.text import printable, told_of

SUFFIXES = (".csv", ".tsv", ".json")
COLUMNS = (("question",), ("answer",), ("image", "image_id", "picture"))
MOST_BYTES = 1 << 28  # of a file of questions
MOST_ANSWERS = 100  # that are told apart, the commonest ones
TESTED = 5  # one in so many pictures is for tests where no folder says which are
HOLDS = "no pictures with questions"
COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zip")


class Question(NamedTuple):
    """What is asked about one picture, and the answer."""

    text: str
    answer: str


@dataclass(frozen=True)
class Asked:
    """Pictures of one split with their questions.

    Attributes:
        pictures: each one's label is its own name.
        questions: by the picture's name, at least one each.
        answers: of both splits, the commonest first.
        skipped: one line for each kind of thing that could not be used.
    """

    pictures: Found
    questions: Mapping[str, tuple[Question, ...]]
    answers: tuple[str, ...]
    skipped: tuple[str, ...]


def read(path: Path, split: str) -> Asked:
    """The pictures of a split about which something is asked.

    Args:
        path: of a folder or an uncompressed tar.
        split: ``train`` or ``test``.

    Raises:
        AtmError: it cannot be read, or holds no questions about its pictures.
    """
    if path.suffix.lower() in COMPRESSED:
        raise AtmError(f"{printable(path.name)} is compressed; unpack it, or give it as a plain tar")
    passed_over = list[tuple[str, str]]()
    files = listed(path, passed_over, HOLDS)
    pictures = [file for file in files if _suffix(file) in PICTURE.suffixes]
    skipped, asked = Counter[str](), defaultdict[str, dict[str, str]](dict)
    for file in (each for each in files if _suffix(each) in SUFFIXES):
        _collect(_rows(file), _names(file, pictures), asked, skipped)
    counted = Counter(answer for each in asked.values() for answer in each.values())
    answers = tuple(answer for answer, _ in sorted(counted.items(), key=lambda each: (-each[1], each[0])))
    common = set(answers[:MOST_ANSWERS])
    skipped[f"questions have an answer that is none of the {MOST_ANSWERS} commonest"] = sum(
        number for answer, number in counted.items() if answer not in common
    )
    usable = {
        name: tuple(Question(text, answer) for text, answer in each.items() if answer in common)
        for name, each in asked.items()
    }
    usable = {name: each for name, each in usable.items() if each}
    if not usable:
        raise AtmError(f"{printable(path)} holds {HOLDS}: {_why(pictures, skipped)}")
    mine = [replace(file, label=file.name) for file in pictures if split_of(file.name) == split]
    chosen = [file for file in mine if file.name in usable]
    if not chosen:
        raise AtmError(f"{printable(path)} holds no {split} pictures with questions")
    skipped["pictures have no question"] = len(mine) - len(chosen)
    names = tuple(file.name for file in chosen)
    lines = tuple(told_of(number, reason) for reason, number in sorted(skipped.items()) if number)
    found = Found(tuple(chosen), names, tuple(sorted(passed_over)), frozenset({"train", "test"}))
    return Asked(found, {name: usable[name] for name in names}, answers[:MOST_ANSWERS], lines)


def split_of(name: str) -> str:
    """``train`` or ``test``, which a picture belongs to, by the folders of its path or by its whole name."""
    folders = {part.lower() for part in name.split("/")[:-1]}
    if "train" in folders or folders & {*TEST_SPLITS}:
        return "train" if "train" in folders else "test"
    return "train" if hashlib.sha256(name.encode(errors="surrogateescape")).digest()[0] % TESTED else "test"


def _suffix(file: File) -> str:
    return os.path.splitext(file.name)[1].lower()


def _why(pictures: list[File], skipped: Counter[str]) -> str:
    if not pictures:
        return "it has no pictures"
    reasons = [told_of(number, reason) for reason, number in skipped.most_common() if number]
    return reasons[0] if reasons else "give a csv, tsv or json file with question, answer and image beside them"


def _names(file: File, pictures: list[File]) -> dict[str, str]:
    """What a file of questions may call the pictures in its folder and below, to their names; empty if two share it."""
    folder = os.path.dirname(file.name)
    inside = f"{folder}/" if folder else ""
    found: dict[str, str] = {}
    for picture in pictures:
        if picture.name.startswith(inside):
            base = os.path.basename(picture.name)
            for called in {picture.name[len(inside) :], base, os.path.splitext(base)[0]}:
                found[called] = "" if found.get(called, picture.name) != picture.name else picture.name
    return found


def _collect(
    rows: Iterable[tuple[Any, Any, Any]] | None,
    names: Mapping[str, str],
    asked: dict[str, dict[str, str]],
    skipped: Counter[str],
) -> None:
    """Put a file's questions to their pictures."""
    for question, answer, picture in rows or ():
        text, said = (
            " ".join(str(each).split()) if isinstance(each, (str, int)) else "" for each in (question, answer)
        )
        name = names.get(str(picture).strip())
        if not text or not said:
            skipped["questions have no words or no answer"] += 1
        elif not (text + said).isprintable():
            skipped["questions cannot be printed"] += 1
        elif name is None:
            skipped["questions are about a picture that is not there"] += 1
        elif not name:
            skipped["questions are about a name that several pictures have"] += 1
        elif text in asked[name]:
            skipped["questions are asked twice of one picture"] += 1
        else:
            asked[name][text] = said


def _rows(file: File) -> list[tuple[Any, Any, Any]] | None:
    """Question, answer and picture of each line; None for a file of something else.

    Raises:
        AtmError: it cannot be read.
    """
    if file.length > MOST_BYTES:
        raise AtmError(f"questions {printable(file.name)} are more than {MOST_BYTES >> 20} MiB")
    try:
        content = file.read().decode("utf-8-sig")
        if _suffix(file) == ".json":
            return _of_json(parse_json(content))
        return _of_table(
            list(csv.reader(io.StringIO(content, newline=""), delimiter="\t" if _suffix(file) == ".tsv" else ","))
        )
    except (OSError, ValueError, csv.Error) as error:
        raise AtmError(f"questions {printable(file.name)} cannot be read: {printable(error)[:200]}") from None


def _of_json(content: Any) -> list[tuple[Any, Any, Any]] | None:
    if not isinstance(content, list) or not content:
        return None
    if all(isinstance(row, list) and len(row) == 3 for row in content):
        return [(row[0], row[1], row[2]) for row in content]
    if all(isinstance(row, dict) for row in content):
        heading = _columns(list(content[0]))
        if heading is not None:
            question, answer, picture = heading
            return [(row.get(question), row.get(answer), row.get(picture)) for row in content]
    return None


def _of_table(rows: list[list[str]]) -> list[tuple[Any, Any, Any]] | None:
    heading = None if not rows else _columns(rows[0])
    if heading is None:
        return None
    question, answer, picture = (rows[0].index(name) for name in heading)
    whole = max(question, answer, picture)
    rows = [row if len(row) > whole else [*row, *[""] * (whole + 1)] for row in rows[1:]]
    return [(row[question], row[answer], row[picture]) for row in rows]


def _columns(names: list[str]) -> list[str] | None:
    """What the columns of question, answer and picture are called, if all of them are there."""
    known = {str(name).strip().casefold(): name for name in reversed(names)}
    found = [next((known[each] for each in kind if each in known), None) for kind in COLUMNS]
    return None if None in found else [str(each) for each in found]
