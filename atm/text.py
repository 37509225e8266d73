"""Foreign text made safe to print, log and write: names of files, classes and policies may hold anything."""

from __future__ import annotations

from collections.abc import Sequence

SINGULAR = {"are": "is", "were": "was", "have": "has"}


def printable(text: object) -> str:
    r"""The text on one line; control characters are escaped as Python does (``\x1b``, ``\n``, ``\udcff``).

    Bytes of a file name that are no UTF-8 come from the file system as lone surrogates, which neither JSON nor a
    terminal takes; they are escaped too, and so are marks that change the direction of writing.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def examples(names: Sequence[str], most: int = 3) -> str:
    """A few of the names, as part of a sentence: ``a, b and c`` or ``a, b, c and 4 more``."""
    shown = [printable(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def counted(number: int, noun: str) -> str:
    """``1 picture`` or ``2,000 pictures``: a noun whose plural has an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def told_of(number: int, words: str) -> str:
    """``1 line is empty`` or ``2 lines are empty``: what is said of several things by their noun and a verb."""
    if number != 1:
        return f"{number:,} {words}"
    noun, verb, rest = words.split(" ", 2)
    return f"1 {noun.removesuffix('s')} {SINGULAR.get(verb, verb)} {rest}"
