"""What all pages share: one layout and its parts. A page opens anywhere, offline, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from atm.signals import ImageSignal, Signal
from reports.numbers import give_or_take, p_value, plain, show
from reports.terms import TERMS, in_short, plain_words

SCRIPT = "page.js"


class Parts:
    """The parts of one page that must know of each other: its headings and the words that it explains.

    Args:
        signal: in whose words these are explained.
    """

    def __init__(self, signal: type[Signal] = ImageSignal) -> None:
        self._signal = signal
        self.sections: list[tuple[str, str]] = []
        self.used: dict[str, None] = {}

    def section(self, title: str) -> Markup:
        """A heading that the list of contents names."""
        anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        self.sections.append((anchor, title))
        return Markup('<h2 id="{}">{}</h2>').format(anchor, title)

    def term(self, name: str, shown: str | None = None) -> Markup:
        """A word of `reports.terms`, with its explanation on hover and focus, and a way to the full one.

        Args:
            name: of the term.
            shown: how it is written here, if otherwise.
        """
        self.used[name] = None
        anchor = _anchor(name)
        return Markup('<a class="term" href="#{}" aria-describedby="{}" data-tip="{}">{}</a>').format(
            anchor, anchor, f"{name}: {in_short(name, self._signal)}", shown or name
        )

    def level(self, word: str) -> Markup:
        """A verdict's word as a badge in its colour."""
        return Markup('<span class="badge {}">{}</span>').format(word.replace(" ", "-"), word)

    @property
    def words(self) -> list[tuple[str, str, str]]:
        """Anchor, name and explanation of every term of this page, by name."""
        return [(_anchor(name), name, plain_words(name, self._signal)) for name in sorted(self.used, key=str.lower)]


def page(template: str, package: str = "reports", signal: type[Signal] = ImageSignal, **content: Any) -> str:
    """A page as text; everything in its content that is not `Markup` is escaped.

    Args:
        template: that extends ``layout.html.j2``.
        package: whose templates it is among.
        signal: that was attacked, in whose words it is written.
        content: what the template names.
    """
    loaders = [PackageLoader(name) for name in dict.fromkeys([package, "reports"])]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["interval"] = show
    environment.filters["plain"] = plain
    environment.filters["give_or_take"] = give_or_take
    environment.filters["p"] = p_value
    environment.filters["code"] = in_code
    environment.filters["slug"] = lambda word: word.replace(" ", "-")
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    script = environment.loader.get_source(environment, SCRIPT)[0] if environment.loader else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = Parts(signal)
    return environment.get_template(template).render(
        parts=parts, section=parts.section, term=parts.term, level=parts.level, script=Markup(script),
        script_digest=digest, **content,
    )  # fmt: skip


def in_code(text: str) -> Markup:
    """Text whose `` `words` `` in backticks are code."""
    words = [
        Markup("<code>{}</code>").format(word) if i % 2 else escape(word) for i, word in enumerate(text.split("`"))
    ]
    return Markup("").join(words)


def image_of(svg: str, label: str) -> Markup:
    """An SVG as one picture with a name, which a reader who cannot see it is told.

    Its identifiers get a beginning of their own, since those of another figure on the page may be the same.
    """
    own = f"f{hashlib.sha256(svg.encode()).hexdigest()[:8]}-"
    unique = re.sub(r'((?:\bid=|xlink:href=)"#?|url\(#)', rf"\g<1>{own}", svg)
    opening = Markup('<svg role="img" aria-label="{}"').format(label)
    return Markup(unique.replace("<svg", opening, 1))


def _anchor(name: str) -> str:
    assert name in TERMS, name
    return "term-" + re.sub(r"[^a-z0-9]+", "-", name.lower())
