"""Flags about what happened while attacks were trained."""

from __future__ import annotations

from reports.case import TELLING, Case
from reports.flag import Flag, registering

FLAGS: list[Flag] = []
flag = registering(FLAGS)


@flag(
    "zero or NaN gradients",
    raised_if="in more than a tenth of an attack's steps the gradient through the tokens is 0, or any is NaN or "
    "infinite.",
    what_to_do="The system hides its gradient, which protects from nobody: attack it with `{closed_form}` or "
    "`{learned}`, which need none, or through a differentiable stand-in.",
)
def _bad_gradients(case: Case) -> str | None:
    return case.of_records(lambda r: r.bad_gradients(), "had zero, NaN or infinite gradients")


@flag(
    "did not converge",
    raised_if="the loss fell in the last tenth of an attack's steps by more than a twentieth of its whole fall.",
    what_to_do="Give the attack more steps.",
)
def _did_not_converge(case: Case) -> str | None:
    return case.of_records(lambda r: r.still_falling(), "was still getting better when it ended")


@flag(
    "best far from last",
    raised_if="the best held-out loss came in the first half of the steps, and the last one is a twentieth above it.",
    what_to_do="Give the attack more auxiliary {noun}s, or a lower learning rate.",
)
def _best_far_from_last(case: Case) -> str | None:
    return case.of_records(lambda r: r.best_far_from_last(), "was best long before it ended")


@flag(
    "train/validation gap",
    raised_if="where an attack's held-out loss is lowest, it is more than half again as high as its training loss.",
    what_to_do="Give the attack more auxiliary {noun}s (`--auxiliary`): with more, it would be stronger.",
)
def _validation_gap(case: Case) -> str | None:
    return case.of_records(lambda r: r.gap(), f"knows its training {case.run.signal.noun}s far better than others")


@flag(
    "a cheaper attack won",
    raised_if="every attack that is trained step by step stays behind one that is solved in closed form, by surely "
    f"more than {TELLING} {{measure}}.",
    what_to_do="Suspect the training of the costlier attacks: their steps, learning rate and number of {noun}s.",
)
def _cheaper_won(case: Case) -> str | None:
    trained = [a for a in case.attacks if a in {r.attack for r in case.records}]
    solved = [a for a in case.attacks if a not in trained]
    pairs = [(a, case.best(solved)) for a in trained] if solved else []
    return f"{case.best(solved)} beats {', '.join(trained)}" if pairs and case.behind(pairs) == pairs else None
