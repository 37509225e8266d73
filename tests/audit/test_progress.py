"""Something is said at once and again and again, and what was skipped stays on the screen."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from audit.progress import Progress, loading


class Heard(io.StringIO):
    """A file that lets a test wait for its n-th line."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def write(self, text: str) -> int:
        with self.changed:
            written = super().write(text)
            self.changed.notify_all()
            return written

    def wait_for(self, text: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: text in self.getvalue(), timeout=60)


def plain() -> tuple[Heard, Console]:
    heard = Heard()
    return heard, Console(file=heard, force_terminal=False, width=200)


def test_the_first_line_comes_at_once_and_the_last_one_again_and_again():
    heard, console = plain()
    with Progress("loading", to=console, every=0.01) as say:
        assert heard.getvalue() == "loading\n"
        say("ridge of none")
        heard.wait_for("s: ridge of none\n")
        say("decoder of none")
        heard.wait_for("s: decoder of none\n")


def test_short_commands_say_one_line():
    heard, console = plain()
    with Progress("loading", to=console) as say:
        say("quickly done")
    assert heard.getvalue() == "loading\n"


def test_what_was_skipped_stays_and_cannot_write_to_the_terminal():
    heard, console = plain()
    with Progress("loading", lambda line: line.startswith("skipped"), console) as say:
        say("skipped \x1b[31mred\x1b]0;x\x07.png [bold]")
    assert "skipped \\x1b[31mred\\x1b]0;x\\x07.png [bold]" in heard.getvalue() and "\x1b" not in heard.getvalue()


def test_in_a_terminal_the_line_moves_and_leaves_nothing():
    heard = Heard()
    with Progress("loading", to=Console(file=heard, force_terminal=True, width=80)) as say:
        say("ridge of none")
        heard.wait_for("ridge of none")
    assert heard.getvalue().endswith("\x1b[2K") or heard.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_that_libraries_are_loaded_is_said_in_a_terminal_alone_and_leaves_nothing():
    heard, console = plain()
    with loading(console):
        pass
    assert heard.getvalue() == ""
    heard = Heard()
    with loading(Console(file=heard, force_terminal=True, width=80)):
        heard.wait_for("loading")
    assert heard.getvalue().endswith("\x1b[2K")


def test_a_counted_line_fills_the_bar_and_tells_what_is_left(monkeypatch):
    heard = Heard()
    now = [100.0]
    monkeypatch.setattr("audit.progress.time.monotonic", lambda: now[0])
    with Progress("loading", to=Console(file=heard, force_terminal=True, width=100)) as say:
        now[0] += 50  # of loading, which is no step
        say("[1/6] ridge on none")
        now[0] += 1
        say("[2/6] decoder on none")
        now[0] += 30
        task = say._bars.tasks[0]
        assert (task.completed, say.left()) == (1, ""), "what nobody has seen may take long"
        say("[3/6] ridge on moderate")
        assert (task.completed, task.total, say.left()) == (2, 6, "about 62 s left")
        now[0] += 3
        say("[4/6] decoder on moderate")
        assert say.left() == "61 to 63 s left"
        now[0] += 20
        say("note: not counted")
        assert task.completed == 3 and say.left() == "41 to 43 s left"
        now[0] += 5
        assert say.left() == "36 to 38 s left", "it goes on while nothing is said"
        now[0] += 10
        assert say.left() == "longer than before, then about 31 s left"
        now[0] += 85
        say("[5/6] ridge on aggressive")
        assert say.left() == "1 to 2 min left"
        say("other pictures [1/3] trial-0001")
        assert say.left() == "", "another count"


def test_what_is_left_is_drawn_anew_while_a_step_goes_on(monkeypatch):
    heard = Heard()
    now = [100.0]
    monkeypatch.setattr("audit.progress.time.monotonic", lambda: now[0])
    with Progress("loading", to=Console(file=heard, force_terminal=True, width=100)) as say:
        for number in (1, 2):
            say(f"[{number}/3] ridge on none")
            now[0] += 20
        heard.wait_for("about 20 s left")
        now[0] += 2
        heard.wait_for("longer than before, then about 20 s left")


def test_without_a_terminal_the_line_says_what_is_left():
    heard, console = plain()
    with Progress("loading", to=console, every=0.01) as say:
        say("full suite [1/4] ridge on none")
        heard.wait_for("s: full suite [1/4] ridge on none\n")
        say("full suite [2/4] ridge on moderate")
        heard.wait_for("s: full suite [2/4] ridge on moderate (about 1 s left)\n")


def test_an_error_ends_the_thread():
    _, console = plain()
    say = Progress(to=console)
    with pytest.raises(ValueError), say:
        assert say._thread.is_alive()
        raise ValueError
    assert not say._thread.is_alive()
