"""The one error that users see: a clear line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AtmError(Exception):
    """Bad input. The message is one line: what was wrong, with which file or value, and what to do."""


class StorageError(AtmError):
    """Something could not be written. The message is one line: which file, and what the operating system said."""


class KnowledgeError(AtmError):
    """An attack needs knowledge that the threat model denies to the adversary."""


def unknown(kind: str, name: str, known: Iterable[str]) -> AtmError:
    """The error for a name that nothing answers to, with the nearest known name as a suggestion.

    Args:
        kind: what was looked up, for example ``"attack"``.
        name: what the user wrote.
        known: every name that would have worked.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(names)}"
    return AtmError(f"unknown {kind} {name!r}: {hint}")
