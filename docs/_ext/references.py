"""References of docstrings: what stands on a page becomes a link, what only stands in the code is shown as code.

A name that is neither is a broken reference, and fails the build.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

NOT_THERE = object()


def resolved(target: str, module: str | None, inside: str | None) -> bool:
    """Whether a name means something where it is written: in a class, in a module, or with its whole path."""
    scopes = [f"{module}.{inside}" if module and inside else None, module, "builtins"]
    names = [f"{scope}.{target}" for scope in scopes if scope]
    return any(_found(name) for name in [*names, target])


def _found(name: str) -> bool:
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(words[:cut]))
        except ImportError:
            continue
        for word in words[cut:]:
            value = getattr(value, word, getattr(value, "__annotations__", {}).get(word, NOT_THERE))
        return value is not NOT_THERE
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Answer for references that lead to no page, and keep first lines of properties whole."""

    def missing(_app: Sphinx, _env: object, node: Any, shown: nodes.Node) -> nodes.Node | None:
        if node.get("refdomain") != "py":
            return None
        signature = node.get("reftype") == "class" and node.get("refdoc", "").startswith("reference/api/")
        if signature:  # a type, which Python itself has resolved
            return shown
        target = node["reftarget"].removeprefix(".").removesuffix("()")
        return shown if resolved(target, node.get("py:module"), node.get("py:class")) else None

    def plain(_app: Sphinx, what: str, _name: str, _value: object, _options: object, lines: list[str]) -> None:
        if what in ("property", "attribute", "data"):  # or napoleon takes "In dB: ..." for a type
            lines.insert(0, "\\ ")

    app.connect("missing-reference", missing)
    app.connect("autodoc-process-docstring", plain, priority=100)
    return {"parallel_read_safe": True}
