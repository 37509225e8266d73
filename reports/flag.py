"""What a flag is, how it looks when it is raised, and the page that explains all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from atm.signals import Signal
from reports.case import Case
from reports.words import words_of

GRAVER = (
    "towards graver. Attacks that are complete and well trained can find more, never less; where they find nothing "
    "more, the flag falls, and what was `inconclusive` for its sake becomes `no leak found`."
)
Look = Callable[[Case], str | None]
EITHER = "either way: the rate could turn out surely above a threshold, or surely below it."


@dataclass(frozen=True)
class Flag:
    """A reason to disbelieve a harmless verdict.

    Attributes:
        name: in reports and docs/flags.md.
        raised_if: in words, with `words_of` in braces.
        what_to_do: likewise.
        could: which way it could change the verdict, in words.
        look: what it saw in a case, or None.
    """

    name: str
    raised_if: str
    what_to_do: str
    could: str
    look: Look

    def of(self, signal: type[Signal]) -> Flag:
        """The same in the words of a kind of signal."""
        words = words_of(signal)
        return replace(self, raised_if=self.raised_if.format_map(words), what_to_do=self.what_to_do.format_map(words))


def registering(flags: list[Flag]) -> Callable[..., Callable[[Look], Look]]:
    """A decorator that adds what looks at cases to some flags; it takes the other attributes of `Flag`.

    Args:
        flags: the gravest first.
    """

    def flag(name: str, *, raised_if: str, what_to_do: str, could: str = GRAVER) -> Callable[[Look], Look]:
        def register(look: Look) -> Look:
            flags.append(Flag(name, raised_if, what_to_do, could, look))
            return look

        return register

    return flag


@dataclass(frozen=True)
class Raised:
    """A flag that is raised, and what it saw."""

    flag: Flag
    found: str

    @property
    def name(self) -> str:
        """The flag's."""
        return self.flag.name

    @property
    def what_to_do(self) -> str:
        """The flag's."""
        return self.flag.what_to_do

    def __str__(self) -> str:
        return f"{self.name}: {self.found}"


def page_of(flags: Iterable[Flag]) -> str:
    """The page docs/flags.md."""
    head = (
        "# Flags\n\nWith a flag raised, a verdict on pixels is never `no leak found` but `inconclusive`; a leak that "
        "was found stays a leak.\nTests that one flag reads together are corrected for their number (Holm). What an "
        "adversary cannot do by definition is no\nflag: the verdict's sentence says it. Reports show flags first, the "
        "gravest on top. This page is printed by "
        "`python -m reports.flags`.\n"
    )
    parts = [
        f"## {flag.name}\n\n**Raised if** {flag.raised_if}\n\n**Could change the verdict** {flag.could}\n\n"
        f"**What to do:** {flag.what_to_do}\n"
        for flag in flags
    ]
    return "\n".join([head, *parts])
