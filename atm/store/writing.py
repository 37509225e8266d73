"""A folder as it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from atm.errors import AtmError
from atm.store import files
from atm.store.journal import ADVICE, CHECKSUMS, Journal, digest
from atm.store.kinds import FORMAT, KINDS
from atm.store.lock import LOCK, Lock
from atm.store.paths import inside
from atm.store.reading import StoredRun
from atm.store.same import changed, short

if TYPE_CHECKING:
    import pandas as pd

BEGUN: set[Path] = set()
"""Folders that this process has begun or gone on with: what is there is its own."""


class RunStore(StoredRun):
    """A folder that this process writes, and nobody else at the same time. Use it as a context manager.

    Opening it changes nothing in a run that is there; `begin` does. What is finished is on disk when a call returns.
    Pages and tables that are made from the rest (``report.html``) are none of its business.

    Args:
        path: the folder; made if missing.
        kind: a name of `KINDS`.
        config: what is asked for; a run that goes on must have been asked for the same.
        resume: go on with what is there.
        force: replace what is there, once `begin` is called.
        free: fields of the configuration that may differ when it goes on.
        growing: fields of the configuration and of what `begin` gets with lists that may grow then.

    Attributes:
        about: the settings; empty before `begin` where there is nothing to go on with.

    Raises:
        AtmError: the folder holds something else, something that neither ``resume`` nor ``force`` was given for,
            something that was asked for differently or is damaged, or it is being written.
        StorageError: it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        kind: str,
        config: Mapping[str, Any],
        *,
        resume: bool = False,
        force: bool = False,
        free: Sequence[str] = (),
        growing: Sequence[str] = (),
    ) -> None:
        self.path, self.kind, self.about, self.notes = Path(path), KINDS[kind], {}, []
        self._kind_name, self._free, self._growing = kind, free, growing
        if resume and force:
            raise AtmError("--resume goes on with what is there and --force replaces it; give one of them")
        self._examine(resume, force)
        self._lock = Lock(self.path)
        try:
            if self._examine(resume, force) and resume:  # again: another process may have ended meanwhile
                self._take_over(_plain(config))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write the folder; one that was made for nothing goes."""
        with suppress(OSError):
            if not (self.path / self.kind.settings).exists():
                (self.path / CHECKSUMS).unlink(missing_ok=True)
        self._lock.release()

    def begin(self, about: Mapping[str, Any]) -> None:
        """Start, or make sure that what goes on is the same in all that its names stand for.

        Args:
            about: the settings: ``config``, and digests and contents of what it names. Fields of
                `atm.store.same.PROVENANCE` stay what they were.

        Raises:
            AtmError: something is no longer what it was.
            StorageError: it cannot be written.
        """
        fresh = _plain({"format": FORMAT, "kind": self._kind_name, **about})
        BEGUN.add(self.path)
        if not self.about:
            self._clear()
            self.write_json(self.kind.settings, fresh)
            self.about = fresh
            return
        asked = {key: value for key, value in fresh.items() if key != "config"}
        before = {key: self.about.get(key) for key in asked}
        if found := changed(before, asked, free=(), growing=self._growing):
            raise AtmError(
                f"{self.path}: {found[0]} is no longer what it was when this {self.kind.noun} began: "
                f"{short(found[1])} then, {short(found[2])} now; use another --out"
            )
        grown = {key: fresh[key] for key in ("config", *self._growing) if key in fresh}
        self.update(**grown)

    def update(self, **facts: Any) -> None:
        """Change settings."""
        wanted = {**self.about, **_plain(facts)}
        if wanted != self.about:
            self.write_json(self.kind.settings, wanted)
            self.about = wanted

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a line to a file of JSON lines."""
        self._extend(name, files.encoded(json.dumps(dict(record), ensure_ascii=False) + "\n"))

    def append_rows(self, name: str, rows: pd.DataFrame) -> None:
        """Add rows to a CSV file, all of them or none; its first rows bring the heading."""
        heading = not self._journal.logs.get(name)
        self._extend(name, files.encoded(rows.to_csv(index=False, header=heading, lineterminator="\n")))

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file, whole or not at all."""
        data = files.encoded(json.dumps(content, indent=2, ensure_ascii=False))
        self._journal.add_documents({name: data})
        files.write(inside(self.path, name), data)

    def write_folder(self, names: Sequence[str], contents: Mapping[str, bytes]) -> None:
        """Write a folder of files by the steps of its path, whole or not at all."""
        folder = inside(self.path, *names)
        for name in contents:
            inside(folder, name)
        self._journal.add_documents({"/".join([*names, name]): data for name, data in contents.items()})
        files.write_folder(folder, contents)

    def _lines(self, name: str) -> list[bytes]:
        return super()._lines(name) if self.about else []  # what is to be replaced counts no more

    def _extend(self, name: str, content: bytes) -> None:
        log = self._journal.logs.get(name)
        start = log.size if log else 0
        files.append(inside(self.path, name), start, content)
        self._journal.add_lines(name, content.split(b"\n")[:-1], start + len(content))

    def _examine(self, resume: bool, force: bool) -> bool:
        """Whether there is something to go on with or to replace; raises where nothing may be written."""
        path, noun = self.path, self.kind.noun
        with files.storing(path):
            if not os.path.lexists(path):
                return False
            if not path.is_dir():
                raise AtmError(f"{path} is a file; choose another --out")
            names = [entry.name for entry in path.iterdir()]
        if self.kind.settings in names:
            if not resume and not force:
                raise AtmError(f"{path} already holds a {noun}; use --resume to go on with it or --force to replace it")
            return True
        if any(name not in (LOCK, CHECKSUMS) and not name.endswith(files.PARTIAL) for name in names):
            others = [f"a {kind.noun}, which" for kind in KINDS.values() if kind.settings in names]
            raise AtmError(f"{path} holds {(others or ['something that'])[0]} is no {noun}; choose another --out")
        return False

    def _take_over(self, asked: dict[str, Any]) -> None:
        about = self._settings()
        if not isinstance(about.get("config"), dict):
            raise AtmError(f"{self.path / self.kind.settings} does not say what was asked for; {ADVICE}")
        if found := changed(about["config"], asked, free=self._free, growing=self._growing):
            name, before, now = found
            rule = "a list may grow and lose nothing" if name.split(".")[0] in self._growing else "give the same"
            raise AtmError(
                f"{self.path} was made with {name} = {before!r}, not {now!r}; {rule} to resume it, or another --out"
            )
        self.about, self._journal = about, Journal(self.path)
        for name, log in self._journal.logs.items():
            if self._journal.finished(self.path, name)[1]:  # torn
                files.append(self.path / name, log.size, b"")
        for name, known in list(self._journal.digests.items()):
            if "/" in name:  # pictures are checked by those who look at them
                continue
            content = self.read_bytes(name)
            if content is not None and digest(content) != known[-1]:  # a kill kept it from being replaced
                self._journal.add_documents({name: content})

    def _clear(self) -> None:
        """Empty the folder of what is to be replaced. The settings go last, so that a kill leaves a run to replace."""
        for name in self.kind.files:
            files.remove(self.path / name.rstrip("/"))
        files.remove(self.path / CHECKSUMS)
        self._journal = Journal(self.path)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON would give it back."""
    return dict(json.loads(json.dumps(dict(content))))
