"""Pages that come from the code itself: the command line, and one page of the Python reference for each package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import typer.main

if TYPE_CHECKING:
    from sphinx.application import Sphinx

PACKAGES = ("atm", "attacks", "defenses", "privacy_metrics", "reports", "audit")
# The command line has a page of its own, and a private module is nobody's business.
COMMANDS = (
    "cli", "export_cli", "files_cli", "live_cli", "making", "options", "report_cli", "search_cli", "selfcheck_cli",
    "training_cli",
)  # fmt: skip
LEFT_OUT = tuple(f"audit.{name}" for name in COMMANDS)


def command_page(app: Any) -> str:
    """The page of the command line, from the application that ``atm`` runs."""
    root = typer.main.get_command(app)
    parts = ["# Command line\n", "This page is made from the program itself. `atm COMMAND --help` says the same.\n"]
    parts += ["## atm\n", f"{root.help}\n", *_parameters(root)]
    for words, command in commands(root, ("atm",)):
        parts += [f"## {' '.join(words)}\n", f"```text\n{_usage(words, command)}\n```\n", f"{command.help}\n"]
        parts += _parameters(command)
        if command.epilog:
            parts.append(f"{command.epilog}\n")
    return "\n".join(parts)


def commands(group: Any, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        elif not command.hidden:
            yield (*before, name), command


def _usage(words: tuple[str, ...], command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    shown = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    return " ".join([*words, *shown, "[OPTIONS]"])


def _parameters(command: Any) -> list[str]:
    lines = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        argument = parameter.param_type_name == "argument"
        names = [parameter.name.upper()] if argument else [*parameter.opts, *parameter.secondary_opts]
        flag = argument or getattr(parameter, "is_flag", False)
        kind = "" if flag else f" {_kind(parameter.type_descriptor.annotation)}"
        said = (parameter.help or "").strip()
        lines.append(f"{', '.join(f'`{name}{kind}`' for name in names)}\n: {_escaped(said)}{_default(parameter)}\n")
    return lines


def _kind(annotation: Any) -> str:
    """What is written behind an option of some type; of a repeatable one, each time."""
    each = (get_args(annotation) or (annotation,))[0]
    return {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(each, "TEXT")


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is True and parameter.secondary_opts:
        return f" Default: `{parameter.opts[0]}`."
    if value is None or isinstance(value, bool) or callable(value) or parameter.param_type_name == "argument":
        return ""
    return f" Default: `{value}`."


def _escaped(text: str) -> str:
    """The text with nothing in it that Markdown would take for its own, outside of code."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        for sign in "*_<[":
            parts[number] = parts[number].replace(sign, "\\" + sign)
    return "`".join(parts)


def package_page(name: str) -> str:
    """The page of one package: what it says of itself, then its modules."""
    package = importlib.import_module(name)
    parts = [f"# {name}\n", _automodule(name)]
    for info in sorted(pkgutil.iter_modules(package.__path__, name + "."), key=lambda info: info.name):
        if not info.ispkg and not info.name.rpartition(".")[2].startswith("_") and info.name not in LEFT_OUT:
            parts += [f"## {info.name}\n", _automodule(info.name)]
    return "\n".join(parts)


def packages() -> list[str]:
    """Ours, and those within them."""
    found = []
    for name in PACKAGES:
        inner = pkgutil.iter_modules(importlib.import_module(name).__path__, name + ".")
        found += [name, *sorted(info.name for info in inner if info.ispkg)]
    return [name for name in found if name not in LEFT_OUT]


def _automodule(name: str) -> str:
    return (
        f"```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n   :show-inheritance:\n```\n"
    )


def write(folder: Path) -> None:
    """All generated pages into ``folder``; one that says the same already is left alone."""
    from audit.cli import app

    pages = {"cli.md": command_page(app), **{f"{name}.md": package_page(name) for name in packages()}}
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        path = folder / name if name == "cli.md" else folder / "api" / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference"))
    return {"parallel_read_safe": True}
