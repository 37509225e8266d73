"""More pictures than a policy is evaluated on, so that not all policies are lucky on the same ones."""

from __future__ import annotations

from dataclasses import replace

from atm.data import Samples
from atm.errors import AtmError
from audit.adversary import samples
from audit.pareto.config import SearchConfig
from audit.setting import Setting

ROUNDS = 4  # sets of pictures that policies take turns with, at most


def in_rounds(setting: Setting, config: SearchConfig, most: int = ROUNDS) -> tuple[Setting, int]:
    """The same system with pictures for so many rounds, and how many that are: as many as the data have pictures for.

    Once more as many are left for the front to be measured on again. Pictures to which a probe was fitted do not count.
    """
    attack = config.attack(auxiliary=20)
    for rounds in range(most, 1, -1):
        try:
            drawn = samples(replace(attack, images=(rounds + 1) * config.images), setting.signal).victims
        except AtmError:  # not so many there
            continue
        fresh = untaught(drawn, setting)
        if len(fresh) < (rounds + 1) * config.images:
            continue
        victims = drawn.subset(fresh[: rounds * config.images])
        answers = setting.answers if setting.victim is None else setting.victim.answers(victims)
        data = {**setting.about["data"], "victims": len(victims), "victims_digest": victims.digest}
        changed = replace(setting.data, victims=victims)
        return replace(setting, data=changed, answers=answers, about={**setting.about, "data": data}), rounds
    return setting, 1


def untaught(drawn: Samples, setting: Setting) -> list[int]:
    """The rows of those that no head was fitted to here: of others it knows the answer."""
    return [row for row, digest in enumerate(drawn.hashes) if digest not in setting.taught]
