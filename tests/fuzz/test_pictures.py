"""Folders and archives of pictures: damaged, strange or hostile files among good ones, and nothing else."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz import world
from tests.fuzz.amount import share
from tests.fuzz.commands import check
from tests.fuzz.damage import damaged

WORDS = [*world.ACCEPTED["attack"]]
FORMATS = (
    ("png", "PNG"),
    ("jpg", "JPEG"),
    ("webp", "WEBP"),
    ("bmp", "BMP"),
    ("gif", "GIF"),
    ("tiff", "TIFF"),
    ("ppm", "PPM"),
)
NAMES = (
    "a.png",
    "a b.PNG",
    "\x1b[31m.png",
    "new\nline.png",
    "\udcff\udcfe.png",
    "x" * 240 + ".png",
    "\u202etxt.png",
    ".hidden.png",
    "a.png.txt",
    "a",
    ".png",
    "[red].png",
    "..png",
    "ａ.png",
    "a.jpeg",
    "a.svg",
    "a.eps",
    "a.tar",
)
FOLDERS = (
    "cat",
    "dog",
    "third",
    "\x1b[31mred",
    "\udcff",
    "new\nline",
    "__MACOSX",
    ".hidden",
    "a b",
    "TRAIN",
    "val",
    "test",
    "validation",
    "x" * 200,
    "cat/inner",
    "train/cat",
    "test/cat",
)


def _claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be so large."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 99)),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _of_mode(mode: str, form: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (32, 32)).save(file, form)
    return file.getvalue()


CONTENTS: tuple[bytes, ...] = (
    *(world.png(99, format=form) for _, form in FORMATS),
    *(world.png(98, size) for size in ((1, 1), (1, 400), (9, 80), (8, 8), (400, 33))),
    *(_claiming(*size) for size in ((2**31 - 1, 2**31 - 1), (30_000, 30_000), (0, 5), (50_000, 1), (9_000, 8_800))),
    *(
        _of_mode(mode, form)
        for mode, form in (
            ("I;16", "PNG"),
            ("1", "PNG"),
            ("P", "PNG"),
            ("LA", "PNG"),
            ("CMYK", "JPEG"),
            ("F", "TIFF"),
            ("RGBA", "WEBP"),
            ("L", "GIF"),
        )
    ),
    b"",
    b"\0" * 100,
    b"GIF89a",
    b"\xff\xd8\xff\xe0",
    b"RIFF\0\0\0\0WEBP",
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"P6\n-1 5\n255\n",
    b"P6\n99999999999999 5\n255\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"II*\0" + b"\xff" * 40,
    b"BM" + b"\xff" * 60,
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name under the data's folder, and what lies there: a strange picture, or a good one that was spoilt."""
    name = f"{draw(st.sampled_from(FOLDERS))}/{draw(st.sampled_from(NAMES))}"
    if draw(st.booleans()):
        return name, draw(st.sampled_from(CONTENTS))
    good = world.png(draw(st.integers(100, 105)), format=draw(st.sampled_from(FORMATS))[1])
    noise, at = draw(st.binary(max_size=8)), draw(st.integers(0, len(good)))
    return name, good[:at] + noise + (good[at + len(noise) :] if draw(st.booleans()) else b"")


def _loop(folder: Path) -> None:
    (folder / "cat/again").symlink_to("..")


def _links(folder: Path) -> None:
    (folder / "cat/nowhere.png").symlink_to("nowhere")
    (folder / "cat/itself.png").symlink_to("itself.png")
    (folder / "cat/zero.png").symlink_to("/dev/zero")
    (folder / "cat/passwd.png").symlink_to("/etc/passwd")
    (folder / "cat/folder.png").symlink_to("../../classes.txt")


def _pipes(folder: Path) -> None:
    os.mkfifo(folder / "cat/pipe.png")
    (folder / "cat/folder.png").mkdir()


def _deep(folder: Path) -> None:
    deep = folder.joinpath("cat", *["d"] * 90)
    deep.mkdir(parents=True)
    (deep / "a.png").write_bytes(world.png(7777))


def _nothing(folder: Path) -> None:
    pass


AROUND: tuple[Callable[[Path], None], ...] = (_nothing, _loop, _links, _pipes, _deep)


@share(0.12)
@given(added=st.lists(files(), min_size=1, max_size=6), around=st.sampled_from(AROUND), alone=st.booleans())
def test_a_folder_of_pictures(copies, added, around, alone):
    """Beside good pictures, which are attacked all the same; or alone, which is refused or attacked."""
    with copies("pictures") as folder:
        data = folder / ("new" if alone else "pictures")
        (data / "cat").mkdir(parents=True, exist_ok=True)
        for name, content in added:
            path = data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        around(data)
        check([*WORDS, "--data", data.name, "--auxiliary", "60"], folder)


MEMBERS = (
    tarfile.REGTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    tarfile.DIRTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"Z",
)
PLACES = ("cat/{}", "/cat/{}", "../cat/{}", "./cat/{}", "cat/../dog/{}", "{}", "pictures/cat/{}", "pictures//dog/{}")


@share(0.06)
@given(
    added=st.lists(st.tuples(st.sampled_from(PLACES), files(), st.sampled_from(MEMBERS)), max_size=5),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]),
    mode=st.sampled_from(["w", "w:gz", "w"]),
)
def test_an_archive_with_strange_members(copies, added, form, mode):
    with copies() as folder:
        with tarfile.open(folder / "new.tar", mode, format=form, errors="surrogateescape") as tar:
            tar.add((folder / "pictures").resolve(), "pictures")
            for place, (name, content), kind in added:
                member = tarfile.TarInfo(
                    place.format(name.split("/")[-1])[: 90 if form == tarfile.USTAR_FORMAT else None]
                )
                member.type, member.size, member.linkname = kind, len(content), "pictures/cat/0.png"
                tar.addfile(member, io.BytesIO(content))
        check([*WORDS, "--data", "new.tar"], folder)


@share(0.04)
@given(how=damaged())
def test_a_damaged_archive(copies, how):
    with copies("pictures.tar") as folder:
        how(folder / "pictures.tar")
        check([*WORDS, "--data", "pictures.tar"], folder)


@pytest.mark.parametrize(
    "what", ["folder", "one class", "loose", "only hidden", "only text", "dev", "file", "train only"]
)
def test_data_that_must_be_refused(copies, what):
    with copies() as folder:
        data = folder / "new"
        path = data / {"loose": "0.png", "only hidden": ".cat/0.png", "train only": "train/cat/0.png"}.get(
            what, "cat/0.png"
        )
        if what == "file":
            data.write_bytes(world.png(1))
        elif what == "dev":
            data.symlink_to("/dev/zero")
        elif what == "folder":
            data.mkdir()
        else:
            path.parent.mkdir(parents=True)
            path.write_bytes(b"text" if what == "only text" else world.png(1))
        check([*WORDS, "--data", "new"], folder, must_refuse=True)
