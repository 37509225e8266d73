"""Pictures with questions: which picture is asked what, what is left out, and who gets which picture."""

from __future__ import annotations

import csv
import json
import tarfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atm.data.kinds import source
from atm.data.question_files import MOST_ANSWERS, Question, read, split_of
from atm.errors import AtmError
from atm.signals import AskedSignal
from tests.questions import paint, write_questions

SIGNAL = AskedSignal((3, 32, 32), (4, 4))
QUESTIONS = source(SIGNAL)


def write_csv(folder, rows, heading=("question", "answer", "image_id"), name="questions.csv"):
    with open(folder / name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heading, *rows])


def pictures(folder, count):
    for number in range(count):
        paint(folder / "images" / f"p{number}.png", "red", number)


def both(folder):
    """What is read of both splits, by picture."""
    found = {}
    for split in ("train", "test"):
        try:
            found |= dict(read(folder, split).questions)
        except AtmError as error:
            assert f"no {split} pictures" in str(error)
    return found


def test_questions_meet_their_pictures_however_these_are_called(tmp_path):
    pictures(tmp_path, 3)
    rows = [("what", "a", "p0"), ("which", "b", "p1.png"), ("where", "c", "images/p2.png"), ("when", "d", "p0")]
    write_csv(tmp_path, rows)
    assert both(tmp_path) == {
        "images/p0.png": (Question("what", "a"), Question("when", "d")),
        "images/p1.png": (Question("which", "b"),),
        "images/p2.png": (Question("where", "c"),),
    }


@pytest.mark.parametrize("suffix", ["tsv", "json"])
def test_other_files_say_the_same(tmp_path, suffix):
    pictures(tmp_path, 2)
    rows = [("what is it", "a b", "p0"), ("is it", "no", "p1")]
    if suffix == "tsv":
        lines = ["question\tanswer\timage", *("\t".join(row) for row in rows)]
        (tmp_path / "asked.tsv").write_text("\n".join(lines), encoding="utf-8")
    else:
        names = ("question", "answer", "image")
        (tmp_path / "asked.json").write_text(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
    assert both(tmp_path) == {f"images/{name}.png": (Question(text, answer),) for text, answer, name in rows}


def test_what_cannot_be_used_is_counted(tmp_path):
    pictures(tmp_path, 12)
    paint(tmp_path / "images" / "p0.bmp", "blue", 0)
    rows = [(f"what {n}", "a", f"p{n}") for n in range(1, 11)]
    rows += [("what 1", "b", "p1"), ("", "a", "p1"), ("who", "  ", "p2"), ("gone", "a", "p99"), ("two", "a", "p0")]
    write_csv(tmp_path, rows)
    (tmp_path / "answers.csv").write_text("answer\na\n", encoding="utf-8")
    (tmp_path / "about.json").write_text('{"a": 1}', encoding="utf-8")
    lines = {line for split in ("train", "test") for line in read(tmp_path, split).skipped}
    assert {
        "1 question is asked twice of one picture", "2 questions have no words or no answer",
        "1 question is about a picture that is not there", "1 question is about a name that several pictures have",
    } <= lines  # fmt: skip
    asked = both(tmp_path)
    assert len(asked) == 10 and asked["images/p1.png"] == (Question("what 1", "a"),)
    alone = sum(int(line.split()[0]) for split in ("train", "test") for line in read(tmp_path, split).skipped
                if "no question" in line)  # fmt: skip
    assert alone == 3  # p0.png, p0.bmp and p11


def test_rare_answers_are_left_out(tmp_path):
    pictures(tmp_path, 2)
    rows = [(f"question {n}", f"answer{n}", "p0") for n in range(MOST_ANSWERS + 7)]
    write_csv(tmp_path, [*rows, *((f"again {n}", f"answer{n}", "p1") for n in range(7, MOST_ANSWERS + 7))])
    found = read(tmp_path, split_of("images/p0.png"))
    assert len(found.answers) == MOST_ANSWERS and "answer0" not in found.answers
    assert f"7 questions have an answer that is none of the {MOST_ANSWERS} commonest" in found.skipped


@given(st.text(max_size=20), st.sampled_from(["", "train/", "a/train/b/", "test/", "val/", "Test/x/"]))
def test_a_picture_is_of_one_split_whatever_its_name(name, folder):
    split = split_of(folder + name.replace("/", "_"))
    assert split == ("train" if "train" in folder else "test") or not folder
    assert split == split_of(folder + name.replace("/", "_"))


def test_a_fifth_of_pictures_without_splits_is_for_tests():
    split = [split_of(f"images/image{number}.jpg") for number in range(2000)]
    assert 0.17 < split.count("test") / 2000 < 0.23


@pytest.mark.parametrize("seed", [0, 1])
def test_no_picture_is_on_both_sides_where_the_files_split_by_question(tmp_path, seed):
    for number in range(60):
        paint(tmp_path / "images" / f"p{number}.png", ("red", "green", "blue")[number % 3], number)
    write_csv(tmp_path, [(f"what {n}", "a", f"p{n}") for n in range(60)], name="data_train.csv")
    write_csv(tmp_path, [(f"which {n}", "b", f"p{n}") for n in range(60)], name="data_eval.csv")
    data = QUESTIONS.splits(SIGNAL, str(tmp_path), victims=5, auxiliary=40, seed=seed)
    hers = {*data.auxiliary.hashes, *data.validation.hashes}
    assert not hers & {*data.victims.hashes}
    assert all(len(asked) == 2 for asked in data.victims.asked)


def test_one_question_is_the_servers_and_another_the_adversarys(tmp_path):
    write_questions(tmp_path, 40, "test")
    write_questions(tmp_path, 40, "train", first=40)
    found = QUESTIONS.load(SIGNAL, str(tmp_path), "test", seed=3)
    assert len(found) == 40 and found.classes[:1] == ("no",)
    for asked, label, private in zip(found.asked, found.labels.tolist(), found.private, strict=True):
        assert asked[0].answer == found.classes[label] and private == asked[1] and len(set(asked)) == 2
    assert {asked[0].text for asked in found.asked} == {"what colour is it ?", "is it red ?"}
    again, other = (QUESTIONS.load(SIGNAL, str(tmp_path), "test", seed=seed) for seed in (3, 4))
    assert again.asked == found.asked and again.digest == found.digest
    assert other.asked != found.asked and other.digest != found.digest


def test_part_of_a_set_keeps_its_questions(tmp_path):
    write_questions(tmp_path, 12)
    found = QUESTIONS.load(SIGNAL, str(tmp_path), "test")
    rows = torch.tensor([7, 2])
    part = found.subset(rows)
    assert part.asked == [found.asked[7], found.asked[2]] and torch.equal(part.labels, found.labels[rows])
    assert {"red"} <= found.subset([0]).named[0] | found.subset([1]).named[0] or len(found.named) == 12
    assert all(words & {"red", "green", "blue", "white"} and not words & {"yes", "no"} for words in found.named)


def test_equal_pictures_share_their_questions(tmp_path):
    for name in ("a", "b"):
        paint(tmp_path / "test" / f"{name}.png", "red", 1)
    write_csv(tmp_path, [("what", "x", "a"), ("which", "y", "b"), ("what", "x", "b")])
    found = QUESTIONS.load(SIGNAL, str(tmp_path), "test", distinct=True)
    assert len(found) == 1 and found.copies == 1 and {q.text for q in found.asked[0]} <= {"what", "which"}


def test_bad_input_is_one_line(tmp_path):
    def refused(path, words, split="test"):
        with pytest.raises(AtmError, match=words) as error:
            QUESTIONS.load(SIGNAL, str(path), split)
        assert "\n" not in str(error.value)

    refused(tmp_path / "nothing", "is no folder or tar")
    refused("", "is no folder or tar")
    refused(tmp_path, "no pictures with questions: it has no pictures")
    pictures(tmp_path, 3)
    refused(tmp_path, "give a csv, tsv or json file")
    write_csv(tmp_path, [("what", "a", "p77")])
    refused(tmp_path, "1 question is about a picture that is not there")
    (tmp_path / "more.json").write_text("[1", encoding="utf-8")
    refused(tmp_path, "questions more.json cannot be read")
    (tmp_path / "broken.tar").write_bytes(b"\0" * 700)
    refused(tmp_path / "broken.tar", "no pictures with questions")
    (tmp_path / "small.tar.gz").write_bytes(b"x")
    refused(tmp_path / "small.tar.gz", "is compressed; unpack it")


def test_a_tar_that_was_cut_off_is_refused(tmp_path):
    write_questions(tmp_path / "d", 4)
    with tarfile.open(tmp_path / "d.tar", "w") as tar:
        tar.add(tmp_path / "d", "d")
    assert len(QUESTIONS.load(SIGNAL, str(tmp_path / "d.tar"), "test")) == 4
    whole = (tmp_path / "d.tar").read_bytes()
    (tmp_path / "d.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AtmError, match="no pictures with questions"):
        QUESTIONS.load(SIGNAL, str(tmp_path / "d.tar"), "test")


def test_paths_say_nothing_of_pictures_with_questions(tmp_path):
    write_questions(tmp_path, 4)
    with pytest.raises(AtmError, match="--label-by and --group-by"):
        QUESTIONS.load(SIGNAL, str(tmp_path), label_by="(.)")
    with pytest.raises(AtmError, match="--label-by and --group-by"):
        QUESTIONS.splits(SIGNAL, str(tmp_path), victims=1, auxiliary=2, group_by="(.)")
    with pytest.raises(AtmError, match="fewer than the 5 to attack"):
        QUESTIONS.splits(SIGNAL, str(tmp_path), victims=5, auxiliary=2)


@pytest.mark.shared
def test_daquar_and_easy_vqa_are_read(shared_file, tmp_path):
    daquar = QUESTIONS.splits(SIGNAL, str(shared_file("data/daquar_224.tar")), victims=100, auxiliary=200)
    assert len(daquar.victims.classes) == MOST_ANSWERS and len(daquar.victims) == 100
    assert any("not among" in line or "none of" in line for line in daquar.victims.skipped)
    with tarfile.open(shared_file("data/easy_vqa.tar.gz")) as tar:
        tar.extractall(tmp_path, filter="data")
    easy = QUESTIONS.load(SIGNAL, str(tmp_path / "easy_vqa"), "test")
    assert len(easy.classes) == 13 and len(easy) == 1000
