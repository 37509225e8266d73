"""What ``atm attack`` is asked for."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass as configuration

from audit.command_lines import command_line, in_words
from audit.system import STRICT, Names, OnAir


@configuration(frozen=True, kw_only=True, config=STRICT)
class AttackConfig(OnAir):
    """What ``atm attack`` is asked for, beside what every command is.

    Attributes:
        policies: preset names or policy files.
        attacks: names; empty or ``standard`` means the suite, as far as the threat model permits, and ``all`` those too
            that are left out of it. Blind baselines always run.
        defense: see `defenses.create`; None sends the tokens as they are.
        repeats: how often each attack is fitted and each picture sent, every time with other seeds and channel draws.
        quick: attacks take few steps, for a first look; a report says so.
        budget: seconds for each policy, shared in proportion to what attacks can make of them (`attacks.base.Method`);
            they choose at the start how many steps each attack takes. None sets no limit.
        replay: a run whose numbers of steps are taken again, so that its numbers come out again on any machine.
        prior: folder of a language model, which attacks on sentences may use (`attacks.language`).
        placer: a file of ``atm train placer``, from which attacks on hidden order go on (`attacks.placer`).
        accept: criteria of deployment such as ``recognised<=5%`` (`reports.acceptance`), which the report begins with.
        recogniser: a pretrained model that looks at reconstructions, by the names that victims have; None for none.
        recogniser_weights: a file with its weights, as ``weights`` is of the victim.
    """

    COMMAND: ClassVar[str] = "atm attack"

    policies: Names = ("none", "moderate", "aggressive")
    attacks: Names = ()
    defense: str | None = None
    repeats: int = 1
    quick: bool = False
    budget: float | None = 600.0
    replay: str | None = None
    prior: str | None = None
    placer: str | None = None
    accept: Names = ()
    recogniser: str | None = None
    recogniser_weights: str | None = None

    def command(self, out: str) -> str:
        """The command line that asks for the same."""
        return f"{command_line(self.COMMAND, self)} {in_words({'out': out})}"
