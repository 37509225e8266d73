"""What happens to files: cut off, overwritten, replaced by another kind, by a link, or by nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

Damage = Callable[[Path], None]

CONTENTS = (
    b"", b"\0" * 64, b"\xff\xfe" * 20, b"PK\x03\x04" + b"\0" * 40, b"\x1f\x8b\x08" + b"\0" * 40, b"<html></html>",
    b"{}", b"[]", b"null", b"1", b'"text"', b"\n", b"\r\n\r\n", b"a,b\n1,2\n", b"\xef\xbb\xbfname: x", b"\x80\x02.",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"\x89PNG\r\n\x1a\n", b"{" * 5000,
    (2**63 - 1).to_bytes(8, "little") + b"{}", (8).to_bytes(8, "little") + b"{}      ",
)  # fmt: skip


def _replace(path: Path, content: bytes) -> None:
    _remove(path)
    path.write_bytes(content)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link(to: str) -> Damage:
    def damage(path: Path) -> None:
        _remove(path)
        path.symlink_to(to.format(name=path.name))

    return damage


def _folder(path: Path) -> None:
    _remove(path)
    (path / "inner").mkdir(parents=True)


def _pipe(path: Path) -> None:
    _remove(path)
    os.mkfifo(path)


def _doubled(path: Path) -> None:
    _replace(path, path.read_bytes() * 2)


def _named(damage: Damage, name: str) -> Damage:
    damage.__name__ = name
    return damage


WHOLE: tuple[Damage, ...] = (
    *(_named(lambda path, c=content: _replace(path, c), f"now {content[:12]!r}") for content in CONTENTS),  # type: ignore[misc]
    *(_named(_link(to), f"link to {to}") for to in ("nowhere", "{name}", ".", "/dev/null", "/dev/zero", "..")),
    _remove, _folder, _pipe, _doubled,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> Damage:
    """Something that may have happened to a file."""
    how = draw(st.sampled_from(["whole", "cut", "flip", "insert", "erase"]))
    if how == "whole":
        return draw(st.sampled_from(WHOLE))
    where, length = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    noise = draw(st.binary(min_size=1, max_size=40))

    def damage(path: Path) -> None:
        content = path.read_bytes()
        at = round(where * len(content))
        middle, behind = {
            "cut": (b"", len(content)),
            "flip": (noise, at + len(noise)),
            "insert": (noise, at),
            "erase": (b"", at + length),
        }[how]
        _replace(path, content[:at] + middle + content[behind:])

    return _named(damage, f"{how} at {where}")
