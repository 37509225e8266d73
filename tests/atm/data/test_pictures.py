"""Decoding of one file, against Pillow's own steps and numbers worked out by hand."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atm import data
from atm.data.pictures import ENLARGED, FRAMES, TRANSPARENT, UnusableError, decode, fit, pair
from atm.text import told_of

SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "GIF": "gif", "TIFF": "tiff", "PPM": "pgm"}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"]),
    st.integers(8, 40),
    st.integers(8, 40),
    st.sampled_from([None, 16, (8, 24), (33, 9)]),
    st.sampled_from([1, 3]),
)
@settings(max_examples=80)
def test_every_mode_and_size_becomes_bytes_of_the_shape_asked_for(
    mode: str, height: int, width: int, size: int | tuple[int, int] | None, channels: int
) -> None:
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    pixels, _ = decode(saved(Image.fromarray(noise(height, width)).convert(mode), kind), size, channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, *(pair(size) if size else (height, width)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    image = Image.fromarray(noise(10, 14))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {  # what a viewer does, by the EXIF standard's table of where row 0 and column 0 are
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: a[::-1].transpose(1, 0, 2),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: lambda a: a[:, ::-1].transpose(1, 0, 2),
    }  # fmt: skip
    pixels, _ = decode(saved(image, exif=exif), None, 3)
    assert np.array_equal(pixels.transpose(1, 2, 0), turned[orientation](noise(10, 14)))


def test_hidden_colours_do_not_show_and_half_of_one_is_half_white() -> None:
    values = noise(12, 12, 4)
    values[:4, :, 3], values[4:8, :, 3], values[8:, :, 3] = 0, 255, 128
    pixels, notes = decode(saved(Image.fromarray(values)), None, 3)
    shown = pixels.transpose(1, 2, 0)
    assert notes == (TRANSPARENT,)
    assert (shown[:4] == 255).all() and np.array_equal(shown[4:8], values[4:8, :, :3])
    expected = 255 + (values[8:, :, :3].astype(float) - 255) * 128 / 255
    assert np.abs(shown[8:] - expected).max() <= 1


def test_an_opaque_alpha_channel_is_not_worth_a_word() -> None:
    values = noise(12, 12, 4)
    values[..., 3] = 255
    assert decode(saved(Image.fromarray(values)), None, 3)[1] == ()


@pytest.mark.parametrize("note", [TRANSPARENT, FRAMES, ENLARGED])
def test_what_is_noted_of_pictures_can_be_said_of_one(note: str) -> None:
    said = told_of(1, f"pictures {note}")
    assert said.startswith(("1 picture was", "1 picture has")) and not {"are", "were", "have"} & set(said.split())


def test_a_transparent_palette_colour_is_white() -> None:
    image = Image.new("P", (12, 12), 0)
    image.putpalette([255, 0, 0] + [0, 255, 0] * 255)
    pixels, notes = decode(saved(image, transparency=0), None, 3)
    assert (pixels == 255).all() and notes == (TRANSPARENT,)


def test_the_first_frame_stands_for_all_and_enlarging_is_said() -> None:
    frames = [Image.new("RGB", (12, 12), colour) for colour in ("red", "blue")]
    pixels, notes = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), 24, 3)
    assert pixels[:, 12, 12].tolist() == [255, 0, 0] and set(notes) == {FRAMES, ENLARGED}


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("RGB", (1, 1)), "8 pixels"),
        (Image.new("RGB", (1, 5000)), "8 pixels"),
        (Image.new("RGB", (20000, 10)), "10 times"),
        (Image.fromarray(noise(12, 12, 1).astype(np.uint16) * 200), "8 bits"),
    ],
)
def test_pictures_that_would_be_blown_up_or_cut_are_refused(image: Image.Image, reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        decode(saved(image), 32, 3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png() -> bytes:
    """A 16-bit RGB PNG, put together by hand because Pillow cannot write one."""
    rows = b"".join(b"\0" + bytes(12 * 6) for _ in range(12))
    header = struct.pack(">IIBBBBB", 12, 12, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    "file", [deep_png(), b"P6 12 12 65535\n" + bytes(12 * 12 * 6), b"P5 12 12 4095\n" + bytes(288)]
)
def test_sixteen_bit_colours_are_not_cut_without_a_word(file: bytes) -> None:
    with pytest.raises(UnusableError, match="8 bits"):
        decode(file, None, 3)


def test_the_reason_is_the_same_for_all_files_of_a_kind() -> None:
    whole = saved(Image.fromarray(noise(64, 64)), "JPEG")
    reasons = set()
    for file in (whole[: len(whole) // 2], whole[: len(whole) // 3], b"", b"words", b"other words"):
        with pytest.raises(UnusableError) as error:
            decode(file, None, 3)
        reasons.add(str(error.value))
    assert reasons == {"damaged: cut off", "no readable picture"}


@given(st.integers(8, 80), st.integers(8, 80), st.integers(1, 40), st.integers(1, 40))
def test_fitting_keeps_the_middle_and_the_shape_of_things(height: int, width: int, high: int, wide: int) -> None:
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    fitted = fit(ramp, (high, wide))
    assert fitted.shape == (3, high, wide)
    scale = max(high / height, wide / width)
    if min(high, wide) > 2:
        assert float(fitted.mean()) == pytest.approx(0.5, abs=1.5 / min(wide, width))  # the middle stays in the middle
        slope = float(fitted[0, 0, wide // 2] - fitted[0, 0, wide // 2 - 1])
        assert slope == pytest.approx(1 / (width - 1) / scale, rel=0.3, abs=0.02)


@pytest.mark.parametrize("kind", SUFFIX)
def test_all_formats_are_taken_by_name_and_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "set" / "ant").mkdir(parents=True)
    image = Image.fromarray(noise(12, 12, 1)) if kind in ("PPM", "GIF") else Image.fromarray(noise(12, 12))
    options = {"lossless": True} if kind == "WEBP" else {}
    image.save(tmp_path / "set" / "ant" / f"a.{SUFFIX[kind]}", kind, **options)
    found = data.load(str(tmp_path / "set"))
    assert found.skipped == () and len(found) == 1
    if kind != "JPEG":
        assert np.array_equal(found.pixels[0].permute(1, 2, 0).numpy(), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("as_tar", [False, True])
def test_rectangles_and_grey_come_out_of_folders_and_tars(tmp_path: Path, channels: int, as_tar: bool) -> None:
    from tests.atm.data.test_data import folder, packed

    root = folder(tmp_path / "set", 4)
    found = data.load(str(packed(root, tmp_path / "a.tar") if as_tar else root), size=(224, 160), channels=channels)
    assert found.pixels.shape == (4, channels, 224, 160)
    batches = list(found.batches(3))
    assert [len(batch) for batch in batches] == [3, 1] and torch.equal(torch.cat(batches), found.images)
    json.dumps(found.notes)


def test_notes_are_said_once_with_a_count_and_examples(tmp_path: Path) -> None:
    (tmp_path / "set" / "ant").mkdir(parents=True)
    for number in range(5):
        Image.new("RGBA", (12, 12), (number, 0, 0, 9)).save(tmp_path / "set" / "ant" / f"{number}.png")
    (note,) = data.load(str(tmp_path / "set")).notes
    assert note.startswith("5 pictures were transparent") and "ant/0.png, ant/1.png, ant/2.png and 2 more" in note


@pytest.mark.parametrize("side", [9_400, 60_000])
def test_a_few_bytes_that_claim_to_be_a_huge_picture_are_refused(side: int, recwarn: pytest.WarningsRecorder) -> None:
    header = struct.pack(">IIBBBBB", side, 9_600, 8, 2, 0, 0, 0)
    with pytest.raises(UnusableError, match="million pixels"):
        decode(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), 32, 3)
    assert not recwarn.list
