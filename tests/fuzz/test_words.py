"""Command lines: every option of every command, with values that it should not have."""

from __future__ import annotations

from typing import Any

import typer
from hypothesis import given
from hypothesis import strategies as st

from audit.cli import app
from tests.fuzz import world
from tests.fuzz.amount import share
from tests.fuzz.commands import check
from tests.fuzz.texts import texts

# Values that are accepted and ask for more than a test may: memory, hours, the network, or folders outside of it.
SLOW = ("hf", "torch/", "wds/", "tfds/", "vit_", "deit", "beit", "eva")


def _options() -> dict[str, list[Any]]:
    """Options of each command by its words, as typer knows them."""
    found = {}
    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    commands |= {f"train {name}": command for name, command in commands.pop("train").commands.items()}
    for name, command in commands.items():
        found[name] = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    return found


OPTIONS = _options()
COMMANDS = [name for name in world.ACCEPTED if name in OPTIONS]


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A command that would be accepted, and it with one to three more options, the last of which counts."""
    name = draw(st.sampled_from(COMMANDS))
    words = list(world.ACCEPTED[name])
    for _ in range(draw(st.integers(1, 3))):
        option = draw(st.sampled_from(OPTIONS[name]))
        flag = draw(st.sampled_from([*option.opts, *option.secondary_opts]))
        if option.is_flag:
            words += [flag]
            continue
        value = draw(st.one_of(texts(), st.sampled_from(world.FILES)).filter(lambda v: not v.startswith(SLOW)))
        words += draw(st.sampled_from([[flag, value], [f"{flag}={value}"], [flag]]))
    return name, words


def test_every_command_is_tried():
    assert set(OPTIONS) - set(COMMANDS) == {"demo"}  # which has no input


@share(0.35)
@given(asked=command_lines())
def test_odd_options_are_accepted_or_refused_in_one_line(copies, asked):
    name, words = asked
    with copies(*world.COPIED.get(name, ())) as folder:
        check(words, folder, writes=world.WRITES.get(name, r"never"))


@share(0.03)
@given(words=st.lists(texts(), max_size=4))
def test_any_words_at_all(copies, words):
    with copies() as folder:
        check(words, folder)
