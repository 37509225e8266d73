"""The one error that users see: a clear line, without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Collection

SUGGESTIONS = 5
MANY = 25  # names that a line still holds
ALIKE, ALIKE_OF_MANY = 0.5, 0.8  # of many names some resemble any word by chance


class AtmError(Exception):
    """Bad input. The message is one line: what was wrong, with which file or value, and what to do."""


class StorageError(AtmError):
    """Something could not be written. The message is one line: which file, and what the operating system said."""


class KnowledgeError(AtmError):
    """An attack needs knowledge that the threat model denies to the adversary."""


def one_line(error: BaseException) -> str:
    """The kind and the words of an error that is not ours."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def unknown(kind: str, name: str, known: Collection[str]) -> AtmError:
    """The error for a name that nothing answers to, with the nearest known names as suggestions, or a few of all.

    Args:
        kind: what was looked up, for example ``"attack"``.
        name: what the user wrote.
        known: every name that would have worked, the most usual ones first.
    """
    names = sorted(known)
    if meant := resembling(name, names):
        hint = meant
    elif len(names) <= MANY:
        hint = f"choose one of {', '.join(names)}"
    else:
        hint = f"there are {len(names)}, such as {', '.join(list(known)[:SUGGESTIONS])}"
    return AtmError(f"unknown {kind} {name!r}: {hint}")


def resembling(name: str, known: Collection[str]) -> str:
    """A question for the names that are nearly written so; empty where none is.

    Args:
        name: what the user wrote.
        known: every name that would have worked.
    """
    number, alike = (1, ALIKE) if len(known) <= MANY else (SUGGESTIONS, ALIKE_OF_MANY)
    near = difflib.get_close_matches(name, sorted(known), n=number, cutoff=alike)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
