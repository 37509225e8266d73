"""Sentences from files: every format, what is skipped and why, and the division between victims and adversary."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.data import sentences as files
from atm.data.kinds import source
from atm.data.texts import TextSet, apart
from atm.errors import AtmError
from privacy_metrics.words import NO_WORD
from tests.texts import LONGEST, tiny_reader, write_tsv


@pytest.fixture(scope="module")
def signal():
    return tiny_reader().signal


def load(signal, path, split="test", **options):
    return source(signal).load(signal, str(path), split, **options)


def written(path, text: str | bytes):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_tsv_has_its_columns_by_name_in_any_order(tmp_path, signal):
    path = written(tmp_path / "a.tsv", "id\tLabel\tSentence\n1\tyes\tw4 w5 w6\r\n2\tno\tw7 w8 w9\n")
    found = load(signal, path)
    assert found.classes == ("no", "yes") and found.labels.tolist() == [1, 0] and found.skipped == ()
    assert found.words[:, :4].tolist() == [[4, 5, 6, NO_WORD], [7, 8, 9, NO_WORD]]


def test_a_csv_may_quote_and_a_txt_has_no_labels(tmp_path, signal):
    path = written(tmp_path / "a.csv", 'text,label\n"w4 w5, w6",a\n"w7\nw8 w9",b\n')
    assert load(signal, path).words[1, :3].tolist() == [7, 8, 9]
    plain = load(signal, written(tmp_path / "a.txt", "\ufeffw4 w5 w6\nw7 w8 w9"))
    assert plain.classes == ("unlabelled",) and len(plain) == 2 and int(plain.words[0, 0]) == 4


def test_cola_is_known_without_a_heading(tmp_path, signal):
    path = written(tmp_path / "dev.tsv", "gj04\t1\t\tw4 w5 w6\ngj04\t0\t*\tw7 w8 w9\ngj04\t0\t?*\tw7 w8 w5\n")
    found = load(signal, tmp_path)
    assert path.exists() and found.labels.tolist() == [1, 0, 0] and found.classes == ("0", "1")


def test_what_cannot_be_used_is_counted_by_reason(tmp_path, signal):
    long = " ".join(["w4"] * (LONGEST + 5))
    content = f"sentence\tlabel\nw4 w5 w6\ta\n\t a\n \ta\nw4\ta\nw4 w5 \xff w6\tb\nw4 w5 w6\n{long}\tb\n\n"
    found = load(signal, written(tmp_path / "a.tsv", content.encode("latin-1")))
    assert sorted(found.skipped) == [
        "1 line is not UTF-8", "1 sentence has fewer than 3 words", "2 lines have too few columns",
        "2 sentences are empty",
    ]  # fmt: skip
    assert found.notes == (f"1 sentence is longer than {LONGEST} words, and cut to so many",)
    assert len(found) == 2 and int((found.words[1] != NO_WORD).sum()) == LONGEST


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "w4 w5 w6\tyes\n", "needs a first line that names its columns"),
        ("a.tsv", "", "needs a first line"),
        ("a.txt", "w4\n\n", "no usable sentence of 3 words or more: 1 sentence is empty, 1 sentence has fewer"),
        ("a.tsv", "sentence\tlabel\nw4 w5 w6\n", "no usable sentence of 3 words or more: 1 line has too few columns"),
        ("a.txt", b"w4 w5 caf\xe9\n" * 2, "no usable sentence of 3 words or more: 2 lines are not UTF-8"),
        ("a.tsv", "sentence\nw4 w5 w6\n".encode("utf-16"), "no UTF-8 from its first line on"),
        ("a.doc", "w4 w5 w6", "no tsv, csv or txt file"),
        ("a.csv", "sentence\n" + "x" * 200_000, "cannot be read"),
    ],
)
def test_a_file_that_says_nothing_is_refused_in_one_line(tmp_path, signal, name, content, message):
    with pytest.raises(AtmError, match=message) as caught:
        load(signal, written(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path, signal):
    for name in (tmp_path, tmp_path / "no.tsv", "photos", "\0"):
        with pytest.raises(AtmError):
            load(signal, name)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300), suffix=st.sampled_from(files.SUFFIXES))
def test_no_bytes_end_in_anything_but_sentences_or_a_line(tmp_path_factory, content, suffix):
    signal, path = tiny_reader().signal, tmp_path_factory.mktemp("bytes") / f"a{suffix}"
    path.write_bytes(content)
    try:
        found = load(signal, path)
    except AtmError as error:
        assert "\n" not in str(error)
    else:
        assert signal.fault(found.words, len(found)) is None


def test_victims_and_adversary_have_no_sentence_in_common(tmp_path, signal):
    write_tsv(tmp_path / "train.tsv", 80, 1)
    lines = (tmp_path / "train.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "dev.tsv").write_text("\n".join(lines[:41]), encoding="utf-8")  # the first half of the others
    splits = source(signal).splits(signal, str(tmp_path), victims=20, auxiliary=60)
    theirs, hers = set(splits.victims.hashes), {*splits.auxiliary.hashes, *splits.validation.hashes}
    assert len(theirs) == 20 and not theirs & hers and splits.removed > 0
    again = source(signal).splits(signal, str(tmp_path), victims=20, auxiliary=60)
    assert again.victims.digest == splits.victims.digest and again.auxiliary.digest == splits.auxiliary.digest


def test_one_file_is_divided(tmp_path, signal):
    write_tsv(tmp_path / "all.tsv", 60)
    splits = source(signal).splits(signal, str(tmp_path / "all.tsv"), victims=20, auxiliary=30, seed=2)
    assert len(splits.victims) == 20 and len(splits.auxiliary) + len(splits.validation) + splits.alike == 30
    with pytest.raises(AtmError, match="60 and at least 2"):
        source(signal).splits(signal, str(tmp_path / "all.tsv"), victims=60, auxiliary=30)
    with pytest.raises(AtmError, match="--group-by"):
        source(signal).splits(signal, str(tmp_path / "all.tsv"), victims=6, auxiliary=30, group_by="folder")


def test_near_duplicates_of_victims_are_taken_from_her(signal):
    attacked = TextSet("a", torch.tensor([[4, 5, 6, 7, 8, NO_WORD]]), torch.tensor([0]), ("a",))
    own = torch.tensor([[8, 7, 6, 5, 4, 4], [4, 5, 6, 7, 9, NO_WORD], [4, 5, 6, 7, 8, 9], [20, 21, 22, 23, 24, 25]])
    left, alike = apart(TextSet("b", own, torch.zeros(4).long(), ("a",)), attacked)
    assert alike == 2 and left.words[:, 4].tolist() == [9, 24]


def test_sentences_for_a_codec_need_no_file(signal):
    assert signal.fault(source(signal).sample(signal, 20), 20) is None


def test_a_user_that_is_not_there_is_no_file(signal):
    with pytest.raises(AtmError, match="no file or folder"):
        load(signal, "~nosuchuser/sentences.tsv")
