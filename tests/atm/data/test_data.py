"""Data by name, against Pillow's own reading, planted duplicates and planted broken files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data.dataset import IterableImageDataset

from atm import data
from atm.data import hubs
from atm.errors import AtmError


def picture(path: Path, seed: int, size: tuple[int, int] = (12, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def folder(root: Path, count: int = 12) -> Path:
    for number in range(count):
        picture(root / ("ant", "bee")[number % 2] / f"{number:03}.png", number)
    return root


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def packed(root: Path, tar: Path) -> Path:
    with tarfile.open(tar, "w") as file:
        file.add(root, ".")
    return tar


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATM_DATA", str(tmp_path / "cache"))


def noise(side: int, kind: str) -> bytes:
    """A picture of random pixels, the same each time, as the bytes of a file."""
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


def one_line(error: pytest.ExceptionInfo[AtmError]) -> str:
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.mark.parametrize("as_tar", [False, True])
def test_pixels_and_labels_are_what_pillow_and_the_folders_say(tmp_path: Path, as_tar: bool) -> None:
    root = folder(tmp_path / "set")
    found = data.load(str(packed(root, tmp_path / "set.tar") if as_tar else root))
    assert found.classes == ("ant", "bee") and found.skipped == ()
    expected = sorted((read(path).tobytes(), path.parent.name) for path in root.rglob("*.png"))
    rows = zip(found.pixels.numpy(), found.labels.tolist(), strict=True)
    assert sorted((pixels.tobytes(), found.classes[label]) for pixels, label in rows) == expected
    assert found.pixels.dtype == torch.uint8 and found.labels.dtype == torch.int64
    assert torch.equal(found.images, found.pixels / 255)


def test_reading_a_tar_writes_nothing(tmp_path: Path) -> None:
    tar = packed(folder(tmp_path / "in"), tmp_path / "set.tar")
    before = sorted(tmp_path.rglob("*"))
    data.load(str(tar))
    assert sorted(tmp_path.rglob("*")) == before


@given(st.integers(1, 20), st.integers(0, 5))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_limit_is_a_repeatable_subset_with_its_labels(tmp_path: Path, limit: int, seed: int) -> None:
    root = tmp_path / "set"
    whole = data.load(str(root if root.exists() else folder(root)))
    part = data.load(str(root), limit=limit, seed=seed)
    label = dict(zip(whole.hashes, whole.labels.tolist(), strict=True))
    assert len(part) == len(set(part.hashes)) == min(limit, len(whole))
    assert [label[content] for content in part.hashes] == part.labels.tolist()
    assert part.classes == whole.classes
    assert part.digest == data.load(str(root), limit=limit, seed=seed).digest


def test_a_limit_is_reached_past_broken_files(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 8)
    for number in range(8):
        (root / "ant" / f"broken{number}.png").write_bytes(b"")
    assert len(data.load(str(root), limit=8)) == 8


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_digest_and_hashes_see_every_pixel_and_label(draw: st.DataObject) -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    base = data.ImageSet("x", pixels, torch.tensor([0, 1, 0, 1]), ("a", "b"))
    row, at = draw.draw(st.integers(0, 3)), draw.draw(st.integers(0, 74))
    changed = pixels.clone()
    changed[row].view(-1)[at] ^= draw.draw(st.integers(1, 255))
    other = data.ImageSet("x", changed, base.labels, base.classes)
    assert [a != b for a, b in zip(base.hashes, other.hashes, strict=True)] == [i == row for i in range(4)]
    assert base.digest != other.digest
    assert base.digest != data.ImageSet("x", pixels, 1 - base.labels, base.classes).digest
    assert base.subset([row]).hashes == (base.hashes[row],)


def test_files_that_are_no_usable_pictures_are_listed_and_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 4)
    whole = noise(64, "JPEG")
    (root / "ant" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "ant" / "empty.jpg").write_bytes(b"")
    (root / "bee" / "words.png").write_text("no picture")
    (root / "bee" / "notes.txt").write_text("no picture")
    found = data.load(str(root))
    assert len(found) == 4
    for name in ("cut.jpg", "empty.jpg", "words.png", "notes.txt"):
        assert sum(name in line and ": " in line for line in found.skipped) == 1, name


@given(st.sampled_from(["PNG", "JPEG"]), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, kind: str, draw: st.DataObject) -> None:
    damaged = bytearray(noise(12, kind))
    for _ in range(draw.draw(st.integers(1, 6))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    root = tmp_path / "set"
    picture(root / "ant" / "good.png", 0)
    (root / "ant" / f"bad.{kind.lower()}").write_bytes(damaged[: draw.draw(st.integers(0, len(damaged)))])
    assert len(data.load(str(root), size=12)) in (1, 2)
    (root / "ant" / f"bad.{kind.lower()}").unlink()


def test_it_fails_only_when_no_picture_is_left(tmp_path: Path) -> None:
    (tmp_path / "set" / "ant").mkdir(parents=True)
    (tmp_path / "set" / "ant" / "a.png").write_bytes(b"")
    with pytest.raises(AtmError) as error:
        data.load(str(tmp_path / "set"))
    assert "a.png" in one_line(error)


def test_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "ant" / "a.png", 1, (20, 12))
    picture(tmp_path / "set" / "ant" / "b.png", 2, (12, 12))
    with pytest.raises(AtmError, match="size"):
        data.load(str(tmp_path / "set"))
    found = data.load(str(tmp_path / "set"), size=12)
    assert found.pixels.shape == (2, 3, 12, 12)
    by_hand = read(tmp_path / "set" / "ant" / "a.png")[:, :, 4:16]  # only the crop: the short side has the right length
    assert any(np.array_equal(pixels, by_hand) for pixels in found.pixels.numpy())


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    (tmp_path / "set" / "ant").mkdir(parents=True)
    Image.fromarray(stripes).save(tmp_path / "set" / "ant" / "a.png")
    inner = data.load(str(tmp_path / "set"), size=16).images[..., 2:-2]
    assert (inner - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("make", ["missing", "empty", "no pictures", "broken tar", "empty tar", "cut tar"])
def test_bad_paths_are_one_clear_line(tmp_path: Path, make: str) -> None:
    path = tmp_path / ("x.tar" if "tar" in make else "x")
    if make in ("empty", "no pictures"):
        (path / "ant").mkdir(parents=True)
    if make == "no pictures":
        (path / "ant" / "a.txt").write_text("x")
    if make == "broken tar":
        path.write_bytes(b"nonsense" * 200)
    if make == "empty tar":
        path.write_bytes(b"")
    if make == "cut tar":
        whole = packed(folder(tmp_path / "in"), tmp_path / "whole.tar").read_bytes()
        path.write_bytes(whole[: len(whole) // 2 + 100])
    with pytest.raises(AtmError) as error:
        data.load(str(path))
    assert str(path) in one_line(error)


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(AtmError) as error:
        data.load("photo")
    assert "photos" in one_line(error)


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **options: object) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(AtmError) as error:
        data.load("torch/cifar10")
    assert "torch/cifar10" in one_line(error)


def test_a_torchvision_set_is_read_from_the_cache(tmp_path: Path) -> None:
    raw = tmp_path / "cache" / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    grey = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):  # the IDX format: two zero bytes, type, dimensions, sizes, values
        sizes = b"".join(n.to_bytes(4, "big") for n in grey.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + sizes + grey.tobytes())
        labels = bytes([0, 0, 8, 1]) + (5).to_bytes(4, "big") + bytes(range(5))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    found = data.load("torch/kmnist")
    assert np.array_equal(found.pixels.numpy(), np.repeat(grey[:, None], 3, 1))
    assert found.labels.tolist() == list(range(5)) and len(found.classes) == 10


@given(st.integers(1, 12), st.integers(2, 30), st.integers(0, 9), st.lists(st.integers(0, 29), max_size=25))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_splits_are_disjoint_in_content_with_planted_duplicates(
    tmp_path_factory: pytest.TempPathFactory, victims: int, auxiliary: int, seed: int, planted: list[int]
) -> None:
    root = folder(tmp_path_factory.mktemp("set"), 30)
    for number, original in enumerate(planted):
        picture(root / "copies" / f"{number}.png", original)  # the same seed: the same pixels
    try:
        s = data.splits(str(root), victims=victims, auxiliary=auxiliary, seed=seed)
    except AtmError:
        return  # duplicates can leave too few; what counts is what is handed out
    parts = [set(part.hashes) for part in (s.victims, s.auxiliary, s.validation)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert len(s.victims) == victims
    assert len(s.auxiliary) >= 1 and len(s.validation) >= 1
    assert planted or s.removed == 0
    # Copies do not count against what was asked for, as long as there are others.
    assert len(s.auxiliary) + len(s.validation) == min(auxiliary, 30 - victims)
    assert s.removed <= len(planted)


def test_auxiliary_data_of_their_own_lose_the_victims_pictures(tmp_path: Path) -> None:
    victims, own = folder(tmp_path / "victims", 6), folder(tmp_path / "own", 20)  # the first six are the same
    s = data.splits(str(victims), victims=6, auxiliary=20, auxiliary_name=str(own))
    assert s.removed == 6
    assert not set(s.victims.hashes) & {*s.auxiliary.hashes, *s.validation.hashes}
    assert len(s.auxiliary) + len(s.validation) == 14


def test_too_many_victims_name_how_many_there_are(tmp_path: Path) -> None:
    with pytest.raises(AtmError, match="6"):
        data.splits(str(folder(tmp_path / "set", 6)), victims=6, auxiliary=5)
    with pytest.raises(AtmError, match="330"):
        data.splits("photos", victims=100_000, auxiliary=5)


def test_victims_are_distinct_by_content_and_copies_are_counted(tmp_path: Path) -> None:
    for number in range(10):
        for copy in range(12):
            picture(tmp_path / "set" / ("ant", "bee")[number % 2] / f"{number}-{copy}.png", number)
    s = data.splits(str(tmp_path / "set"), victims=10, auxiliary=20, auxiliary_name=str(folder(tmp_path / "own", 40)))
    assert len(set(s.victims.hashes)) == 10
    assert s.removed >= 10  # the adversary's folder begins with the same ten
    with pytest.raises(AtmError, match="10 test pictures of different content"):
        data.splits(str(tmp_path / "set"), victims=11, auxiliary=9, auxiliary_name=str(tmp_path / "own"))


def test_the_adversary_gets_the_training_split_and_the_victims_val(tmp_path: Path) -> None:
    for seed in range(20):
        split = ("train", "val")[seed % 2]
        picture(tmp_path / "set" / split / ("ant", "bee")[seed // 2 % 2] / f"{seed}.png", seed)
    train, val = (data.load(str(tmp_path / "set" / split)) for split in ("train", "val"))
    s = data.splits(str(tmp_path / "set"), victims=8, auxiliary=10)
    assert set(s.victims.hashes) <= set(val.hashes)
    assert {*s.auxiliary.hashes, *s.validation.hashes} == set(train.hashes)


@pytest.mark.parametrize("channels", [1, 3])
def test_photographs_in_any_size_and_in_grey(channels: int) -> None:
    s = data.splits("photos", victims=6, auxiliary=20, size=(224, 160), channels=channels)
    for part in (s.victims, s.auxiliary, s.validation):
        assert part.pixels.shape[1:] == (channels, 224, 160)


def test_photographs_of_one_block_are_said_to_overlap() -> None:
    few, many = (data.splits("photos", victims=victims, auxiliary=50) for victims in (100, 256))
    assert few.victims.notes == () and len(set(few.victims.hashes)) == 100
    assert "overlap" in many.victims.notes[0] and len(set(many.victims.hashes)) == 256


@pytest.mark.parametrize("name", ["", " ", "a\0b", "x" * 5000, "~nobody_of_this_name/x"])
def test_impossible_names_are_one_clear_line(name: str) -> None:
    with pytest.raises(AtmError) as error:
        data.load(name)
    one_line(error)


@pytest.mark.shared
def test_a_tar_of_cifar10(shared_file: Callable[[str], Path]) -> None:
    path = shared_file("data/cifar10_test.tar")
    found = data.load(str(path))
    assert found.pixels.shape == (10_000, 3, 32, 32) and found.skipped == ()
    assert found.labels.bincount().tolist() == [1000] * 10
    with tarfile.open(path) as tar:
        member = next(m for m in tar if m.name.endswith("bird/0338.jpg"))
        file = tar.extractfile(member)
        assert file is not None
        reference = np.asarray(Image.open(file).convert("RGB")).transpose(2, 0, 1)
    birds = found.pixels[found.labels == found.classes.index("bird")].numpy()
    assert sum(np.array_equal(bird, reference) for bird in birds) == 1


def test_streams_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reader:
        def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
            return iter([(Image.new("RGB", (8, 8), (row, 0, 0)), row % 2) for row in range(6)])

        def __len__(self) -> int:
            return 6

    monkeypatch.setattr(hubs, "create_dataset", lambda *_, **__: IterableImageDataset(None, reader=Reader()))
    assert data.load("tfds/x").pixels[:, 0, 0, 0].tolist() == list(range(6))
    part = data.load("tfds/x", limit=3, seed=1)
    assert len(part) == 3 and part.labels.tolist() == [int(row) % 2 for row in part.pixels[:, 0, 0, 0]]


def test_sixteen_bits_and_postscript_are_not_taken_for_pictures(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 2)
    Image.fromarray((np.arange(144).reshape(12, 12) * 400).astype(np.uint16)).save(root / "ant" / "deep.png")
    Image.new("RGB", (12, 12)).save(root / "ant" / "script.png", "EPS")
    found = data.load(str(root))
    assert len(found) == 2
    assert "8 bits" in next(line for line in found.skipped if "deep.png" in line)
    assert "Ghostscript" not in next(line for line in found.skipped if "script.png" in line)


def test_a_folder_s_own_splits_are_kept_apart(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "test", "val")):
        picture(tmp_path / "set" / split / "ant" / "a.png", seed)
    for split in ("train", "test"):
        found = data.load(str(tmp_path / "set"), split)
        assert len(found) == 1
        assert np.array_equal(found.pixels[0], read(tmp_path / "set" / split / "ant" / "a.png"))


def test_pictures_without_class_folders_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png", 0)
    with pytest.raises(AtmError, match="class folders"):
        data.load(str(tmp_path / "set"))


def test_strays_in_a_tar_are_listed(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 2)
    (root / "ant" / "notes.txt").write_text("x")
    assert "notes.txt" in data.load(str(packed(root, tmp_path / "set.tar"))).skipped[0]


@pytest.mark.parametrize("number", [0, -1])
def test_numbers_below_one_are_refused(number: int) -> None:
    for call in (
        lambda: data.load("photos", size=number),
        lambda: data.load("photos", limit=number),
        lambda: data.splits("photos", victims=number, auxiliary=9),
        lambda: data.splits("photos", victims=9, auxiliary=number),
    ):
        with pytest.raises(AtmError, match=str(number)):
            call()


def test_a_misspelt_split_of_photos_is_corrected() -> None:
    with pytest.raises(AtmError, match="train"):
        data.load("photos", "trian")
