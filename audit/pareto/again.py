"""The front once more, on pictures that the search never saw: what was lucky on its own pictures is not on these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from atm.data.kinds import source
from atm.errors import AtmError
from atm.store import RunStore
from audit.adversary import samples
from audit.pareto.config import FEWEST, SearchConfig
from audit.pareto.execution import evaluate
from audit.pareto.outcome import STOPPED, Outcome
from audit.pareto.problem import PolicyProblem
from audit.pareto.rounds import untaught
from audit.setting import Setting

LEAST = 0.5  # of the pictures that were searched on: on fewer others luck would take the place of luck
NONE_LEFT = "the data have too little that the search did not see, so its front was not measured again"


def unseen(setting: Setting, config: SearchConfig) -> Setting | None:
    """The same system on other victims, of which none resembles one that it had; None where too few are left.

    Victim, head and defence stay what they were: only the pictures are drawn anew, and none that a probe was fitted to.
    """
    signal, seen = setting.signal, setting.data.victims
    attack = config.attack(auxiliary=20)
    try:  # those after the search's own
        drawn = samples(replace(attack, images=len(seen) + config.images), signal).victims
    except AtmError:  # there are not so many: whatever it did not draw
        drawn = samples(replace(attack, seed=config.seed + 1), signal).victims
    victims, _ = source(signal).apart(signal, drawn.subset(untaught(drawn, setting)), seen)
    if len(victims) < max(FEWEST, LEAST * config.images):
        return None
    answers = setting.answers if setting.victim is None else setting.victim.answers(victims)
    return replace(setting, data=replace(setting.data, victims=victims), answers=answers)


def measured_again(
    outcome: Outcome, store: RunStore, make: Callable[[], PolicyProblem | None], say: Callable[[str], None]
) -> Outcome:
    """The outcome with numbers of its front, and of the unmerged policy, on other pictures; its folder has them.

    Args:
        outcome: of a search that has ended.
        store: its folder.
        make: the problem on other pictures, or None where there are none.
        say: called with a line for each policy.
    """
    known = {trial.name: outcome.again[trial.name] for trial in outcome.shown if trial.name in outcome.again}
    noise = {name: outcome.again_noise[name] for name in known if name in outcome.again_noise}
    problem: PolicyProblem | None = None
    try:
        problem = make() if len(known) < len(outcome.shown) else None
        if problem is None and len(known) < len(outcome.shown):
            return replace(outcome, notes=(*outcome.notes, NONE_LEFT))
        for number, trial in enumerate(outcome.shown, 1):
            if problem is not None and trial.name not in known:
                say(f"other {outcome.noun}s [{number}/{len(outcome.shown)}] evaluating {trial.name}")
                measured = evaluate(problem, trial.number, trial.policy).measured
                if measured is not None:
                    known[trial.name], noise[trial.name] = dict(measured.values), dict(measured.noise)
    except KeyboardInterrupt:
        note = f"{STOPPED} while the front was measured on other pictures; --resume goes on with it"
        outcome = replace(outcome, notes=(*outcome.notes, note))
    images = outcome.again_images if problem is None else len(problem.images)
    store.update(again=known, again_noise=noise, again_images=images)
    return replace(outcome, again=known, again_noise=noise, again_images=images)
