"""Sound files as data: what can be heard in them, what they are called, and which show the same recording."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from atm import data
from atm.data.sounds import LONGER, SHORTER, samples
from atm.errors import AtmError
from atm.signals.spectrogram import recipe
from atm.text import told_of
from tests.sounds import RATE, folder, voice, write

ASKED = {"size": (40, 30), "channels": 1, "spectrogram": "log-mel"}


def load(path: Path, **options):
    return data.load(str(path), **(ASKED | options))


def spectrogram(sound: np.ndarray) -> torch.Tensor:
    return (recipe("log-mel")(torch.from_numpy(sound), 40, 30) * 255).round().to(torch.uint8)[None]


def test_a_sound_becomes_its_spectrogram_whatever_file_it_is_in(tmp_path):
    sound = voice(1, 0.3)
    write(tmp_path / "a" / "int16.wav", sound)
    write(tmp_path / "a" / "float.wav", sound, subtype="FLOAT")
    write(tmp_path / "a" / "lossless.flac", sound)
    write(tmp_path / "a" / "stereo.wav", np.stack([sound, sound], 1), subtype="FLOAT")
    found = load(tmp_path)
    assert found.pixels.shape == (4, 1, 40, 30) and found.classes == ("a",) and found.skipped == ()
    assert found.notes == ("1 sound has several channels, of which the mean is taken (a/stereo.wav)",)
    error = (found.pixels.int() - spectrogram(sound).int()).abs()
    assert int(error[[0, 3]].max()) == 0  # float.wav and stereo.wav
    assert float(error.float().mean()) < 1.5


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_another_rate_is_resampled(tmp_path, rate):
    time = np.arange(rate) / rate
    write(tmp_path / "a" / "tone.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), rate)
    path = tmp_path / "a" / "tone.wav"
    found, notes = samples(path.read_bytes(), RATE)
    assert len(found) == RATE and notes == (f"were resampled to {RATE:,} samples a second",)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert np.abs(found - expected)[200:-200].max() < 5e-3


def test_what_is_longer_is_cut_and_what_is_shorter_ends_in_silence(tmp_path):
    sound = voice(1, 1.0)
    write(tmp_path / "a" / "long.wav", sound, subtype="FLOAT")
    write(tmp_path / "a" / "short.wav", sound[:2000], subtype="FLOAT")
    found = load(tmp_path)
    assert torch.equal(found.pixels[0], spectrogram(sound[: 30 * 160]))
    assert torch.equal(found.pixels[1], spectrogram(np.concatenate([sound[:2000], np.zeros(2800, np.float32)])))
    assert {note.split(" (")[0] for note in found.notes} >= {told_of(1, f"sounds {what}") for what in (LONGER, SHORTER)}


def test_a_long_recording_is_not_read_to_its_end(tmp_path):
    path = write(tmp_path / "a" / "long.wav", np.tile(voice(1, 1.0), 60), subtype="FLOAT")
    whole = path.read_bytes()
    cut = whole[: len(whole) // 10]  # its header still says a minute
    assert np.array_equal(samples(whole, 4800)[0], samples(cut, 4800)[0])


BROKEN = {
    "empty.wav": b"",
    "text.wav": b"this is no sound at all",
    "cut.wav": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "renamed.wav": b"\x89PNG\r\n\x1a\n" + bytes(100),
}


def test_what_cannot_be_heard_is_counted_with_its_reason(tmp_path):
    write(tmp_path / "a" / "good.wav", voice(1))
    write(tmp_path / "a" / "silent.wav", np.zeros(4000))
    write(tmp_path / "a" / "hiss.wav", 1e-5 * voice(2), subtype="FLOAT")
    write(tmp_path / "a" / "against.wav", np.stack([voice(3), -voice(3)], 1), subtype="FLOAT")
    write(tmp_path / "a" / "nothing.wav", np.zeros(0))
    write(tmp_path / "a" / "nan.wav", np.full(4000, np.nan), subtype="FLOAT")
    write(tmp_path / "a" / "slow.wav", voice(4), 100)
    for name, content in BROKEN.items():
        (tmp_path / "a" / name).write_bytes(content)
    (tmp_path / "a" / "notes.txt").write_text("x")
    found = load(tmp_path)
    assert len(found) == 1
    said = " | ".join(found.skipped)
    for reason in ("3 files: silent", "no sound in it", "samples that are no numbers", "a/slow.wav: not between 4,000",
                   "a/notes.txt: not named like a sound", "no readable sound"):  # fmt: skip
        assert reason in said, (reason, said)
    assert all("\n" not in line and len(line) < 300 for line in found.skipped)


def test_a_folder_without_a_usable_sound_is_refused_in_one_line(tmp_path):
    write(tmp_path / "a" / "silent.wav", np.zeros(4000))
    with pytest.raises(AtmError, match=r"has no usable sound; the first problem: a/silent.wav: silent"):
        load(tmp_path)
    with pytest.raises(AtmError, match=r"holds no pictures in class folders; the first problem: a/silent\.wav"):
        data.load(str(tmp_path))
    with pytest.raises(AtmError, match="one channel, and the victim takes 3"):
        load(tmp_path, channels=3)
    with pytest.raises(AtmError, match="give mel bands and frames"):
        load(tmp_path, size=None)
    with pytest.raises(AtmError, match="the victim hears sounds, and data 'photos' is no folder"):
        load("photos")


@pytest.mark.parametrize("as_tar", [False, True])
def test_labels_and_groups_are_read_from_names(tmp_path, as_tar):
    path = folder(tmp_path / "set", 48)
    if as_tar:
        with tarfile.open(tmp_path / "set.tar", "w") as tar:
            tar.add(path, "set")
        path = tmp_path / "set.tar"
    if as_tar:
        assert load(path).classes == ("set",)
    else:
        with pytest.raises(AtmError, match=r"no class folders; put the sounds .* or say with --label-by"):
            load(path)
    found = load(path, label_by=r"(\d)_s")
    assert found.classes == ("0", "1") and found.labels.bincount().tolist() == [24, 24]
    split = data.splits(str(path), victims=8, auxiliary=30, label_by=r"_(s\d)_", group_by=r"_(s\d)_", **ASKED)
    theirs, hers = (
        set(split.victims.labels.tolist()),
        {*split.auxiliary.labels.tolist(), *split.validation.labels.tolist()},
    )
    assert theirs and hers and not theirs & hers and split.victims.classes == split.auxiliary.classes


@pytest.mark.parametrize("by, said", [("q", "names no class, such as of 0_s0_0.wav"), ("(", "neither 'folder' nor")])
def test_labels_that_cannot_be_are_refused_in_one_line(tmp_path, by, said):
    folder(tmp_path, 4)
    with pytest.raises(AtmError, match=said) as refusal:
        load(tmp_path, label_by=by)
    assert "\n" not in str(refusal.value)


def test_some_names_without_a_label_are_counted(tmp_path):
    folder(tmp_path, 4)
    write(tmp_path / "extra.wav", voice(99))
    found = load(tmp_path, label_by=r"(\d)_s")
    assert len(found) == 4 and found.skipped == ("extra.wav: of no class, by its name",)


COPIES = {
    "softer": lambda sound: 0.1 * sound,
    "later": lambda sound: np.concatenate([np.zeros(800, np.float32), sound]),
    "cut": lambda sound: sound[480:],
    "hiss": lambda sound: sound + 0.01 * sound.std() * np.random.default_rng(0).standard_normal(len(sound)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_another_version_of_an_attacked_recording_is_not_hers(tmp_path, kind):
    for number in range(20):
        sound = voice(number, 0.5)
        write(tmp_path / "test" / "a" / f"{number}.wav", sound)
        write(tmp_path / "train" / "a" / f"copy{number}.wav", COPIES[kind](sound), subtype="FLOAT")
        write(tmp_path / "train" / "a" / f"own{number}.wav", voice(100 + number, 0.5))
    found = data.splits(str(tmp_path), victims=20, auxiliary=40, **(ASKED | {"size": (80, 60)}))
    assert found.alike >= 17 and len(found.auxiliary) + len(found.validation) >= 19


def test_other_recordings_stay_hers(tmp_path):
    for number in range(60):
        write(tmp_path / "a" / f"{number}.wav", voice(number, 0.5))
    found = data.splits(str(tmp_path), victims=20, auxiliary=40, **(ASKED | {"size": (80, 60)}))
    assert found.alike <= 1


@pytest.mark.shared
def test_spoken_digits(shared_file):
    path = str(shared_file("data/fsdd.tar"))
    found = data.splits(path, victims=60, auxiliary=200, label_by=r"/(\d)_", group_by=r"\d_([a-z]+)_",
                        size=(80, 100), channels=1, spectrogram="log-mel")  # fmt: skip
    assert found.victims.classes == tuple("0123456789") and found.alike <= 4
    assert len(found.auxiliary) + len(found.validation) + found.alike == 200
