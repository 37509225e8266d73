"""A folder as it is read: what is finished in it, each line and document checked."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atm.errors import AtmError
from atm.foreign import parse_json
from atm.store.journal import ADVICE, CHECKSUMS, Journal, digest, read
from atm.store.kinds import FORMAT, KINDS
from atm.store.paths import inside

if TYPE_CHECKING:
    import pandas as pd


class StoredRun:
    """A folder that somebody has written or is writing. Reading changes nothing in it.

    Args:
        path: the folder.
        kind: a name of `KINDS`.

    Attributes:
        path: the folder.
        about: its settings: what was asked for, with what.
        notes: a line for each file that had something behind what is finished, which was left out.

    Raises:
        AtmError: it is no folder of that kind or of another format, or its settings are damaged.
    """

    _last: tuple[tuple[int, int], Journal] | None = None  # as it was read last, with size and time of its file

    def __init__(self, path: str | Path, kind: str) -> None:
        self.path, self.kind = Path(path), KINDS[kind]
        self.notes: list[str] = []
        self.about: dict[str, Any] = self._settings()

    def records(self, name: str) -> list[dict[str, Any]]:
        """The finished records of a file of JSON lines; empty where there is none.

        Raises:
            AtmError: a line is damaged.
        """
        lines = self._lines(name)
        return [_object(line, f"{self.path / name}, line {number}") for number, line in enumerate(lines, 1)]

    def table(self, name: str, columns: Mapping[str, type | None]) -> pd.DataFrame:
        """The finished rows of a CSV file; empty where there is none.

        Args:
            name: of the file.
            columns: that it must have, with their types; None takes what the values look like.

        Raises:
            AtmError: a line is damaged, or the columns are others.
        """
        import pandas as pd  # which takes a second, and reading settings and journals needs none of it

        lines, types = self._lines(name), {column: kind for column, kind in columns.items() if kind}
        if not lines:
            return pd.DataFrame({column: pd.Series(dtype=kind or object) for column, kind in columns.items()})
        text = io.BytesIO(b"\n".join([*lines, b""]))
        try:
            table = pd.read_csv(text, dtype=types, keep_default_na=False, na_values=[""], float_precision="round_trip")
        except ValueError as error:
            raise AtmError(f"{self.path / name} cannot be read: {error}") from None
        if list(table.columns) != list(columns):
            raise AtmError(f"{self.path / name} has the columns {list(table.columns)}, expected {list(columns)}")
        return table

    def read_json(self, name: str) -> Any:
        """What a JSON file says.

        Raises:
            AtmError: it is missing or damaged.
        """
        content = self.read_bytes(name)
        if content is None:
            raise AtmError(f"{self.path / name} is missing; {ADVICE}")
        try:
            return parse_json(content)
        except ValueError as error:
            raise AtmError(f"{self.path / name} is damaged: {error}; {ADVICE}") from None

    def read_bytes(self, *names: str) -> bytes | None:
        """A document of the folder by the steps of its path; None where it is missing, or nothing is known of it.

        Raises:
            AtmError: it is damaged, a link, or not in the folder.
        """
        path = inside(self.path, *names)
        content = read(path)  # before the journal: a document that is replaced meanwhile is its last but one then
        known = self._known().digests.get("/".join(names), [])
        if not content or not known:
            return None
        if digest(content) not in known[-2:]:
            raise AtmError(f"{path} is damaged: it is not what was written; {ADVICE}")
        return content

    def _lines(self, name: str) -> list[bytes]:
        # The journal first: what it knows is in the file already, and more may come.
        lines, behind = self._known().finished(self.path, name)
        if behind:
            note = (
                f"{name} has something behind line {len(lines)} that was torn by a kill or is not of this "
                f"{self.kind.noun}; it is left out, and --resume removes it"
            )
            self.notes += [note] * (note not in self.notes)
        return lines

    def _known(self) -> Journal:
        """The journal, read again only where it was written since: a page asks for hundreds of documents."""
        try:
            status = (self.path / CHECKSUMS).stat()
        except OSError:
            return Journal(self.path)  # which says what is wrong
        state = status.st_size, status.st_mtime_ns
        if self._last is None or self._last[0] != state:
            self._last = state, Journal(self.path)
        return self._last[1]

    def _settings(self) -> dict[str, Any]:
        name, noun = self.kind.settings, self.kind.noun
        path = inside(self.path, name)
        try:
            there = path.exists()
        except OSError as error:
            raise AtmError(f"{path} cannot be read: {error.strerror or error}") from None
        if not there:
            others = [other.noun for other in KINDS.values() if (self.path / other.settings).exists()]
            raise AtmError(
                f"{self.path} is no {noun} folder: it " + (f"holds a {others[0]}" if others else f"has no {name}")
                + f"; make one with '{self.kind.command} --out'"
            )  # fmt: skip
        try:
            about = parse_json(read(path))
        except ValueError as error:
            raise AtmError(f"{path} is damaged: {error}; {ADVICE}") from None
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise AtmError(f"{path} is not of format {FORMAT}, the one that this version reads")
        if not (self.path / CHECKSUMS).exists():
            raise AtmError(f"{self.path / CHECKSUMS} is missing, without which nothing here can be checked; {ADVICE}")
        return _object(self.read_bytes(name) or b"", str(path))


def _object(content: bytes, where: str) -> dict[str, Any]:
    """The object that JSON says."""
    try:
        found = parse_json(content)
    except ValueError as error:
        raise AtmError(f"{where} is damaged: {error}; {ADVICE}") from None
    if not isinstance(found, dict):
        raise AtmError(f"{where} holds no record; {ADVICE}")
    return found


def settings_of(path: Path, kind: str) -> dict[str, Any]:
    """The settings of a folder; empty where it is none of that kind, or cannot be read."""
    try:
        return StoredRun(path, kind).about
    except AtmError:
        return {}
