"""``checksums.jsonl``: what in a folder is finished, and how to see that it is still what was written.

A *log* (JSON lines, CSV) only grows. Its new lines are written first and entered here second, so whatever stands behind
the last line entered was torn by a kill, or is not ours. A *document* (JSON, a picture) is replaced whole; its digest
is entered first and the file renamed second, so a document is the last or the last but one entered. An entry is one
line with a checksum over itself and the entry before, so that none is changed, missing or there twice unnoticed; a torn
last entry is as if it were not there.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atm.errors import AtmError
from atm.foreign import check_regular, parse_json
from atm.store.files import append, encoded
from atm.store.paths import inside

CHECKSUMS = "checksums.jsonl"
ADVICE = "restore it from a copy, or start anew with --force"


@dataclass
class Log:
    """What is finished of a log: its bytes, and the checksum of each of its lines."""

    size: int = 0
    lines: list[str] = field(default_factory=list)


class Journal:
    """The journal of a folder; empty where there is none yet.

    Attributes:
        logs: by file name.
        digests: of documents by their path in the folder, oldest first.

    Raises:
        AtmError: an entry before the last is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = inside(folder, CHECKSUMS)
        self.logs: dict[str, Log] = {}
        self.digests: dict[str, list[str]] = {}
        self._size, self._check = 0, ""
        lines = read(self.path).split(b"\n")[:-1]  # what follows the last newline was torn
        for number, line in enumerate(lines, 1):
            try:
                self._enter(parse_json(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                if number == len(lines):
                    break
                raise AtmError(f"{self.path}, line {number} is damaged; {ADVICE}") from None
            self._size += len(line) + 1

    def add_lines(self, name: str, lines: Iterable[bytes], size: int) -> None:
        """Enter that lines were added to a log, which is ``size`` bytes long now."""
        self._add({"file": name, "size": size, "lines": "".join(map(checksum, lines))})

    def add_documents(self, contents: dict[str, bytes]) -> None:
        """Enter that documents are about to be written."""
        self._add({"digests": {name: digest(content) for name, content in contents.items()}})

    def finished(self, folder: Path, name: str) -> tuple[list[bytes], int]:
        """The lines of a log that are finished, without their newlines, and how many bytes stand behind them.

        Raises:
            AtmError: one of them is damaged or missing.
        """
        path, log = inside(folder, name), self.logs.get(name, Log())
        content = read(path)
        if log.lines and not content:
            raise AtmError(f"{path} is missing or empty; {ADVICE}")
        lines = content[: log.size].split(b"\n")[:-1]
        for number, expected in enumerate(log.lines, 1):
            if number > len(lines):
                raise AtmError(f"{path} ends before line {number} of {len(log.lines)}; {ADVICE}")
            if checksum(lines[number - 1]) != expected:
                raise AtmError(f"{path}, line {number} is damaged: it is not what was written; {ADVICE}")
        if len(lines) > len(log.lines):
            raise AtmError(f"{path}, line {len(log.lines)} is damaged: it is not what was written; {ADVICE}")
        return lines, len(content) - min(log.size, len(content))

    def _add(self, entry: dict[str, Any]) -> None:
        entry = {"check": self._chained(entry), **entry}
        line = encoded(json.dumps(entry)) + b"\n"
        append(self.path, self._size, line)
        self._size += len(line)
        self._enter(entry)

    def _chained(self, entry: dict[str, Any]) -> str:
        return checksum(encoded(self._check + json.dumps(entry)))

    def _enter(self, entry: dict[str, Any]) -> None:
        check = self._chained({key: value for key, value in entry.items() if key != "check"})
        if entry["check"] != check:
            raise ValueError("an entry's own checksum is wrong")
        self._check = check
        for name, value in entry.get("digests", {}).items():
            self.digests.setdefault(name, []).append(value)
        if "file" in entry:
            log = self.logs.setdefault(entry["file"], Log())
            log.size, text = int(entry["size"]), entry["lines"]
            log.lines += [text[i : i + 8] for i in range(0, len(text), 8)]


def checksum(line: bytes) -> str:
    """CRC-32 of a line, as 8 hex digits."""
    return f"{zlib.crc32(line):08x}"


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def read(path: Path) -> bytes:
    """A file's content, empty where there is none.

    Raises:
        AtmError: it cannot be read.
    """
    check_regular(path, str(path))
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise AtmError(f"{path} cannot be read: {error.strerror or error}") from None
