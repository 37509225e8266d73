"""Photographs with questions about them, for victims that answer: folders that ``--data`` takes.

Of Imagenette three questions a picture are put by a template, of DAQUAR those that people asked whose answer is one of
its commonest. Three folders are written: ``imagenette``, ``daquar``, and ``both``, with some pictures of either to
train a projector on (docs/howto/questions.md).

    python -m benchmarks.asked_photographs imagenette_train.tar imagenette_test.tar daquar.tar OUT
"""

from __future__ import annotations

import csv
import hashlib
import io
import random
import tarfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from atm.data.question_files import split_of
from atm.errors import AtmError, one_line
from benchmarks.command import Parser, run

NAMES = {
    "cassette_player": "cassette", "chain_saw": "chainsaw", "church": "church", "english_springer": "dog",
    "french_horn": "horn", "garbage_truck": "truck", "gas_pump": "pump", "golf_ball": "ball", "parachute": "parachute",
    "tench": "fish",
}  # fmt: skip
KINDS = {"dog": "animal", "fish": "animal", "church": "building"}
OF_CLASS = {"train": 40, "test": 12}  # pictures of each class of Imagenette
COMMONEST = 16  # answers of DAQUAR that count
HALF, FEW = 260, 20  # training pictures of either in ``both``, and test pictures


class Asked(NamedTuple):
    """A picture of one split with its questions and answers."""

    name: str
    content: bytes
    questions: list[tuple[str, str]]


def imagenette(path: Path, split: str, draw: random.Random) -> list[Asked]:
    """Pictures of a split, as many of each class, each asked what it is, whether something is there, and its kind."""
    found, taken = list[Asked](), Counter[str]()
    with _opened(path) as tar:
        for file in sorted((each for each in tar if each.isfile()), key=lambda each: _mixed(each.name)):
            folder = file.name.split("/")[-2]
            if folder in NAMES and taken[folder] < OF_CLASS[split]:
                taken[folder] += 1
                name, there = NAMES[folder], draw.random() < 0.5
                thing = name if there else draw.choice([each for each in NAMES.values() if each != name])
                questions = [
                    ("What is in the picture?", name),
                    (f"Is there a {thing} in the picture?", "yes" if there else "no"),
                    ("Is it an animal, a building or a thing?", KINDS.get(name, "thing")),
                ]
                found.append(Asked(f"{split}/{folder}_{Path(file.name).name}", _bytes(tar, file.name), questions))
    return found


def daquar(path: Path) -> list[Asked]:
    """Pictures of both splits, by their names, with people's questions."""
    with _opened(path) as tar:
        files = [f"daquar/data_{part}.csv" for part in ("train", "eval")]
        rows = [row for file in files for row in csv.DictReader(io.StringIO(_bytes(tar, file).decode()))]
        common = {answer for answer, _ in Counter(row["answer"] for row in rows).most_common(COMMONEST)}
        asked = defaultdict[str, list[tuple[str, str]]](list)
        for row in rows:
            if row["answer"] in common:
                asked[row["image_id"]].append((row["question"], row["answer"]))
        pictures = [name for name in tar.getnames() if Path(name).stem in asked and Path(name).suffix == ".jpg"]
        return [
            Asked(f"{split_of(name)}/{Path(name).name}", _bytes(tar, name), asked[Path(name).stem]) for name in pictures
        ]


def write(folder: Path, pictures: Iterable[Asked]) -> None:
    """The pictures below ``train`` and ``test``, and a file of their questions."""
    rows = [("question", "answer", "image")]
    for each in pictures:
        path = folder / each.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.content)
        rows += [(question, answer, each.name) for question, answer in each.questions]
    with open(folder / "questions.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """A tar file; raises `AtmError` where it cannot be read."""
    try:
        with tarfile.open(path) as tar:
            yield tar
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise AtmError(f"{path} cannot be read as a tar file: {one_line(error)}") from None


def _bytes(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise AtmError(f"{tar.name!r} has no file {name}")
    return file.read()


def _mixed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def main() -> None:
    """Write the three folders."""
    parser = Parser("asked_photographs", __doc__)
    parser.add_argument("imagenette_train", type=Path, help="tar file of the training pictures")
    parser.add_argument("imagenette_test", type=Path, help="tar file of the test pictures")
    parser.add_argument("daquar", type=Path, help="tar file of the pictures with their questions")
    parser.add_argument("out", type=Path, help="folder to write")
    given = parser.parse_args()
    draw = random.Random(0)
    templated = [*imagenette(given.imagenette_train, "train", draw), *imagenette(given.imagenette_test, "test", draw)]
    people = daquar(given.daquar)
    write(given.out / "imagenette", templated)
    write(given.out / "daquar", people)
    both = list[Asked]()
    for pictures, step in ((people, 1), (templated, 6)):
        train = sorted((each for each in pictures if each.name.startswith("train")), key=lambda each: _mixed(each.name))
        test = [each for each in pictures if each.name.startswith("test")]
        both += [*train[:HALF], *test[::step][:FEW]]
    write(given.out / "both", both)


if __name__ == "__main__":
    run(main)
