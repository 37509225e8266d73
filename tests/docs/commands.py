"""A command line that is not run is held against the real options, and the names in it against what there is."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main

import atm.policy
import atm.threat
import attacks
import defenses
from atm import channels
from audit.cli import app
from tests.docs.blocks import ROOT

COMMAND = typer.main.get_command(app)
FREE = (".", "pip", "uv", "ray", "cd")  # programs of others
FILE = re.compile(r".*\.(yaml|yml|json)|.*/.*")


def check(words: list[str]) -> None:
    """Raise unless the command could be given: its program, its options, and the names behind them are there."""
    program = words[0]
    if program == "atm":
        check_atm(words[1:])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in words[1:]), words
    elif program == "python":
        check_python(words[1:])
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extra in re.findall(r"(?<=[\[,])\w+(?=[\],])", " ".join(words)):
            assert extra in project["optional-dependencies"], extra
    else:
        assert program in FREE, words


def check_python(words: list[str]) -> None:
    """A module or script of ours, whose source knows each option."""
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file(), words
        return
    if words[1] == "pytest":
        return
    path = ROOT / (words[1].replace(".", "/") + ".py")
    source = path.read_text(encoding="utf-8")
    if "add_system(parser" in source:  # the options that say which victim
        source += (ROOT / "benchmarks/command.py").read_text(encoding="utf-8")
    for option in (word for word in words[2:] if word.startswith("--")):
        assert f'"{option}"' in source, f"{words[1]} has no {option}"


def check_atm(words: list[str]) -> None:
    """Parse with the application's own parser, without running anything."""
    command, rest = found(words)
    if "--help" in rest or "--version" in rest:
        return
    context = command.make_context(command.name, list(rest))
    for parameter, value in context.params.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if parameter in NAMES and isinstance(each, str):
                NAMES[parameter](each, command.name)


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that some words call, and the words that are left for it."""
    command, rest = COMMAND, list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    return command, rest


def options(command: Any = COMMAND) -> Iterator[str]:
    """Every option of a command and of those below it."""
    for parameter in command.params:
        yield from (name for name in [*parameter.opts, *parameter.secondary_opts] if name.startswith("--"))
    for below in getattr(command, "commands", {}).values():
        yield from options(below)


def _policy(name: str, _: str) -> None:
    if not FILE.fullmatch(name):
        atm.policy.load(name, 6)


def _threat(name: str, _: str) -> None:
    if not Path(name).suffix:
        atm.threat.load(name)


def _attack(name: str, _: str) -> None:
    assert name in {*attacks.available(), *attacks.inferences(), "standard", "all"}, name


def _channel(text: str, command: str) -> None:
    name, _, rest = text.partition(",")
    channels.parse(f"{name}:10,{rest}".rstrip(",") if command == "sweep" else text)


NAMES: dict[str, Callable[[str, str], object]] = {
    "policy": _policy,
    "threat": _threat,
    "attack": _attack,
    "channel": _channel,
    "defense": lambda text, _: defenses.create(text),
}
