"""Flags: why a harmless verdict would not be believed. Each is a function that says what it saw, or nothing.

``python -m reports.flags`` prints docs/flags.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from atm.signals import ImageSignal
from attacks.beginning import GONE_ON
from privacy_metrics.significance import SURE, paired_p_value
from reports.case import TELLING, Case
from reports.findings import told_places
from reports.flag import EITHER, GRAVER, Flag, Raised, page_of
from reports.history import Record
from reports.level import FEWEST_IMAGES, measured_level
from reports.peers import differs_only_in, number, stronger, surely_higher, twice_the_budget
from reports.placers import handed
from reports.recognition import picked, recogniser_of, vouches
from reports.run import Run

CANARY = 0.9  # of the canary's pictures must be recognisable
TAKEN = 0.05  # of the adversary's pictures may be removed without a word
PLACED = 0.9  # of the patches; where so many have their token, a search for the others changes little
PLACING = ("placed", "placed_blindly")

FLAGS: list[Flag] = []


def raised(case: Case) -> tuple[Raised, ...]:
    """The flags that a case raises, gravest first."""
    seen = [(flag, flag.look(case)) for flag in FLAGS]
    return tuple(Raised(flag.of(case.run.signal), found) for flag, found in seen if found is not None)


def first_of(flags: Iterable[Raised]) -> Raised | None:
    """The one to do something about first: what it asks for may make others fall."""
    order = [flag.name for flag in FLAGS]
    return min(flags, key=lambda each: order.index(each.name), default=None)


def _flag(
    name: str, *, raised_if: str, what_to_do: str, could: str = GRAVER
) -> Callable[..., Callable[[Case], str | None]]:
    def register(look: Callable[[Case], str | None]) -> Callable[[Case], str | None]:
        FLAGS.append(Flag(name, raised_if, what_to_do, could, look))
        return look

    return register


@_flag(
    "unfinished",
    raised_if="an attack or an inference that was asked for has no scores, or not for every repeat.",
    what_to_do="Go on with the same command and `--resume`.",
)
def _unfinished(case: Case) -> str | None:
    s = case.run.scores[case.run.scores.policy == case.policy]
    done = s.groupby("attack")["repeat"].nunique().to_dict()
    asked = [*case.run.about["attacks"], *case.run.about.get("inferences", [])]
    missing = [name for name in asked if done.get(name, 0) < case.run.repeats]
    return f"unfinished: {', '.join(missing)}; go on with --resume" if missing else None


@_flag(
    "only blind baselines",
    raised_if="no attack was run that rebuilds {noun}s from tokens.",
    what_to_do="Run attacks: leave `--attack` out, or name some (`atm list attacks`).",
)
def _only_blind(case: Case) -> str | None:
    rebuilt = [a for a in case.attacks if a != case.run.baselines.retrieval]
    if rebuilt:
        return None
    return f"no attack was run that rebuilds {case.run.signal.noun}s, only blind baselines or retrieval"


@_flag(
    "canary failed",
    raised_if=f"fewer than {CANARY:.0%} of the canary's {{noun}}s became recognisable. The canary is the victim's "
    "first layer, unmerged, without defence and noise, attacked by `{closed_form}` on the adversary's own {noun}s: it "
    "must leak.",
    what_to_do="Look for what attacks cannot cope with: broken {noun}s, a victim whose input is scaled otherwise, too "
    "few auxiliary {noun}s (`--auxiliary`).",
)
def _canary_failed(case: Case) -> str | None:
    canary = case.run.about.get("canary")
    if canary is None or canary["recognisable"] >= CANARY:
        return None
    noun = case.run.signal.noun
    return (
        f"{canary['attack']} made only {canary['recognisable']:.0%} of {canary['images']} {noun}s recognisable at the "
        f"unprotected first layer (mean {case.run.measured} {canary[case.run.measure]:.2f}), where nearly all must be"
    )


@_flag(
    "time budget cut",
    raised_if="an attack was ended by a time budget.",
    what_to_do="Give it the time that it needs: a larger `--budget`, in seconds for each policy; 0 sets no limit.",
)
def _time_cut(case: Case) -> str | None:
    return _of(case, lambda r: r.cut, "was ended by the time budget")


@_flag(
    "too few images",
    raised_if=f"fewer than {FEWEST_IMAGES} {{noun}}s were attacked.",
    what_to_do=f"Attack more: `--images {FEWEST_IMAGES}` or above.",
    could=EITHER,
)
def _too_few_images(case: Case) -> str | None:
    images = len(case.run.per_image(case.policy, "correct"))
    if images < FEWEST_IMAGES:
        return (
            f"only {images} {case.run.signal.noun}s were attacked; a claim about privacy needs at least {FEWEST_IMAGES}"
        )
    return None


@_flag(
    "below a blind baseline",
    raised_if="an attack stays behind what it comes down to where it learns nothing (`{plain}`; for `{retrieval}`, "
    f"`{{random}}`) by surely more than {TELLING} {{measure}}; or no attack beats the strongest blind baseline, and "
    "the one that the canary vouches for did not run; or the best stays as surely behind that baseline though one is "
    "as surely above what it comes down to, so that tokens do tell something.",
    what_to_do="Suspect the attack, not the policy: was it fitted against this very system, with enough {noun}s and "
    "steps? Run `{closed_form}` too.",
)
def _below_blind(case: Case) -> str | None:
    strongest, pairs = case.strongest, list(case.yardsticks.items())
    if behind := case.behind(pairs):
        return " and ".join(f"{attack} stays behind {baseline}, which reads no token" for attack, baseline in behind)
    if strongest is None or not case.attacks or case.behind([(strongest, a) for a in case.attacks], by=0.0):
        return None
    canary = case.run.about.get("canary")
    if canary is None or canary["attack"] not in case.attacks:
        return "no attack beats the blind baselines, so suspect the attacks before trusting the policy"
    telling = case.behind([(baseline, attack) for attack, baseline in pairs])
    if telling and case.behind([(case.best(case.attacks), strongest)]):
        return f"tokens tell {telling[0][1]} something, and yet no attack reaches {strongest}, which reads none"
    return None


@_flag(
    "recogniser not heard",
    raised_if="the recogniser (`--recogniser`) picks out what blind baselines answer with, which read no token, more "
    "often than by chance. Nothing that it picks out counts then, however much it is.",
    what_to_do="Give another recogniser, or attack more {noun}s, among which chance finds are fewer.",
    could="towards graver. What a recogniser picks out adds to what leakage says and takes nothing away; where one "
    "that is heard finds nothing, the flag falls, and what was `inconclusive` for its sake becomes `no leak found`.",
)
def _not_heard(case: Case) -> str | None:
    name = recogniser_of(case.run)
    if name is None or vouches(case.run, case.policy):
        return None
    return f"{name} finds what reads no token too, so that nothing it picks out counts"


@_flag(
    "tokens not placed",
    raised_if="the adversary has no placer and has to find out to which places tokens belong; she does so surely "
    f"better than by guessing blindly, and for fewer than {PLACED:.0%} of the {{parts}}. Hidden order is a search, "
    "which more {noun}s and time improve: published attacks rebuild shuffled tokens nearly as well as ordered ones "
    "(SARA, 2026).",
    what_to_do="Train a placer on many {noun}s (`atm train placer`) and go on from it (`--placer`), give her more "
    "(`--auxiliary`, `--budget`) until placing improves no more, and see what leaks where the order is known "
    "(`--threat server`): a hidden order alone protects from nobody.",
)
def _not_placed(case: Case) -> str | None:
    return None if case.run.about.get("placer") else _unplaced(case)


@_flag(
    "placer too weak",
    raised_if=f"the adversary has a placer, and still finds the places of fewer than {PLACED:.0%} of the {{parts}}, "
    "surely better than by guessing blindly.",
    what_to_do="Train the placer longer or on more {noun}s (`atm train placer --start FILE`, with more `--steps` and "
    "`--images`), or for this very system: under its `--policy` and `--channel`, with its `--threat`. See what leaks "
    "where the order is known, too (`--threat server`).",
)
def _weak_placer(case: Case) -> str | None:
    found = _unplaced(case) if case.run.about.get("placer") else None
    if found is None or (placer := handed(case.run).get(case.policy)) is None:
        return found
    return f"{found}; the placer was {placer.outcome}" + (
        "" if placer.outcome == GONE_ON else ", so that it was of no use"
    )


def _unplaced(case: Case) -> str | None:
    """What is not placed of hidden order, though some of it is."""
    pairs = {a: [case.run.values(case.policy, a, name) for name in PLACING] for a in case.scored}
    pairs = {attack: pair for attack, pair in pairs.items() if pair[0].numel() > 1}
    if not pairs or told_places(case.run, case.policy):
        return None
    best = max(pairs, key=lambda attack: float(pairs[attack][0].mean()))
    placed, blindly = pairs[best]
    if float(placed.mean()) >= PLACED or paired_p_value(placed, blindly) >= SURE:
        return None
    shares = f"{float(placed.mean()):.0%} of the {case.run.signal.parts} ({float(blindly.mean()):.0%} blindly)"
    return f"{best} found the token of {shares}"


@_flag(
    "resembling pictures removed",
    raised_if=f"more than {TAKEN:.0%} of the adversary's {{noun}}s were near-duplicates of attacked ones, and removed.",
    what_to_do="An adversary may well hold {noun}s of that kind: where they are all alike (digits, faces, pages), "
    "give her others of the kind (`--auxiliary-data`), or more.",
)
def _resembling(case: Case) -> str | None:
    data = case.run.about["data"]
    taken, left = data.get("alike", 0), data.get("auxiliary", 0)
    if taken <= TAKEN * (taken + left):
        return None
    return f"{taken} of the adversary's {taken + left} {case.run.signal.noun}s resembled attacked ones and were removed"


@_flag(
    "part of the suite",
    raised_if="only some of the suite's attacks and of the inferences that the threat model permits were asked for.",
    what_to_do="Run them all: leave `--attack` out.",
)
def _part_of_the_suite(case: Case) -> str | None:
    left = case.run.about.get("left_out")
    return f"not asked for, though this adversary could run them: {', '.join(left)}" if left else None


@_flag(
    "a quick run",
    raised_if="attacks took the few steps of `--quick`.",
    what_to_do="Drop `--quick`.",
)
def _quick_run(case: Case) -> str | None:
    return "attacks took few steps, and stronger ones may leak more" if case.run.about["config"].get("quick") else None


@_flag(
    "zero or NaN gradients",
    raised_if="in more than a tenth of an attack's steps the gradient through the tokens is 0, or any is NaN or "
    "infinite.",
    what_to_do="The system hides its gradient, which protects from nobody: attack it with `{closed_form}` or "
    "`{learned}`, which need none, or through a differentiable stand-in.",
)
def _bad_gradients(case: Case) -> str | None:
    return _of(case, lambda r: r.bad_gradients(), "had zero, NaN or infinite gradients")


@_flag(
    "did not converge",
    raised_if="the loss fell in the last tenth of an attack's steps by more than a twentieth of its whole fall.",
    what_to_do="Give the attack more steps.",
)
def _did_not_converge(case: Case) -> str | None:
    return _of(case, lambda r: r.still_falling(), "was still getting better when it ended")


@_flag(
    "best far from last",
    raised_if="the best held-out loss came in the first half of the steps, and the last one is a twentieth above it.",
    what_to_do="Give the attack more auxiliary {noun}s, or a lower learning rate.",
)
def _best_far_from_last(case: Case) -> str | None:
    return _of(case, lambda r: r.best_far_from_last(), "was best long before it ended")


@_flag(
    "train/validation gap",
    raised_if="where an attack's held-out loss is lowest, it is more than half again as high as its training loss.",
    what_to_do="Give the attack more auxiliary {noun}s (`--auxiliary`): with more, it would be stronger.",
)
def _validation_gap(case: Case) -> str | None:
    return _of(case, lambda r: r.gap(), f"knows its training {case.run.signal.noun}s far better than others")


@_flag(
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


@_flag(
    "seeds disagree",
    raised_if="one repeat alone would be judged otherwise than another, or the mean leakage of two repeats (or of a "
    "run given by `--against` with another seed) differs by more than 0.05.",
    what_to_do="Repeat more often (`--repeats`), and attack more {noun}s.",
    could=EITHER,
)
def _seeds_disagree(case: Case) -> str | None:
    def tables(run: Run) -> list[Any]:
        found = run.worst_repeats(case.policy), run.blind_repeats(case.policy), picked(run, case.policy)
        return list(zip(*(t.split(1) for t in found), strict=False))

    rows = tables(case.run)
    for other in case.peers:
        rows += tables(other) if differs_only_in(case.run, other, {"seed"}) else []
    levels = {measured_level(worst, blind, case.run.signal.bar, hits) for worst, blind, hits in rows}
    if len(levels) > 1:
        return f"single repeats say {' and '.join(repr(level) for level in sorted(levels))}"
    means = torch.stack([worst.mean() for worst, *_ in rows])
    spread = float(means.max() - means.min())
    return f"repeats differ by {spread:.2f} in mean {case.run.measured}" if spread > 0.05 else None


@_flag(
    "a weaker adversary won",
    raised_if="in a run given by `--against`, an adversary who sees and knows no more reaches a leakage that is surely "
    f"more than {TELLING} {{measure}} higher.",
    what_to_do="The stronger adversary could do the same, so her attacks are too weak: strengthen them.",
)
def _weaker_won(case: Case) -> str | None:
    for other in case.peers:
        if stronger(case.run, other) and surely_higher(other, case.run, case.policy, TELLING):
            return f"{other.about['threat']['name']!r} ({other.folder.name}) rebuilt more, and has no more to go by"
    return None


@_flag(
    "leakage falls as SNR rises",
    raised_if="against the same adversary on a noisier channel of the same kind, in a run given by `--against`, "
    f"leakage is surely more than {TELLING} {{measure}} higher.",
    what_to_do="Less noise cannot hide more: the attack on the better channel is too weak, or badly trained.",
)
def _falls_with_snr(case: Case) -> str | None:
    def kind_and_snr(run: Run) -> tuple[str, float]:
        name, _, argument = run.about["channel"].partition(":")
        snr, _, options = argument.partition(",")
        return f"{name}:{options}", number(snr)

    kind, snr = kind_and_snr(case.run)
    for other in case.peers:
        other_kind, other_snr = kind_and_snr(other)
        same = differs_only_in(case.run, other, {"channel"}) and kind == other_kind
        if same and other_snr < snr and surely_higher(other, case.run, case.policy, TELLING):
            ours, theirs = case.run.about["channel"], other.about["channel"]
            return f"at {theirs} ({other.folder.name}) more was rebuilt than at {ours}"
    return None


@_flag(
    "a doubled budget changes the verdict",
    raised_if="a run given by `--against` with at least twice the auxiliary {noun}s, steps or time, and all else "
    "equal, is judged otherwise.",
    what_to_do="Believe the larger budget, and double it again until the verdict stays.",
    could=EITHER,
)
def _budget_matters(case: Case) -> str | None:
    for other in case.peers:
        if twice_the_budget(case.run, other):
            ours, theirs = (
                measured_level(
                    r.worst_repeats(case.policy), r.blind_repeats(case.policy), r.signal.bar, picked(r, case.policy)
                )
                for r in (case.run, other)
            )
            if ours != theirs:
                return f"with the larger budget of {other.folder.name} it is {theirs!r}"
    return None


def _of(case: Case, bad: Callable[[Record], bool], what: str) -> str | None:
    names = list(dict.fromkeys(record.attack for record in case.records if bad(record)))
    return f"{', '.join(names)} {what}" if names else None


def document() -> str:
    """The page docs/flags.md, in the words of pictures."""
    return page_of(flag.of(ImageSignal) for flag in FLAGS)


if __name__ == "__main__":
    print(document(), end="")
