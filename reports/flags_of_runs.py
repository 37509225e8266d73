"""Flags about what was run: pictures, attacks and time that are missing, and searches that are not at their end."""

from __future__ import annotations

from atm.text import told_of
from attacks.beginning import GONE_ON
from privacy_metrics.significance import SURE, paired_p_value
from reports.case import TELLING, Case
from reports.findings import told_places
from reports.flag import EITHER, Flag, registering
from reports.level import FEWEST_IMAGES
from reports.placers import handed
from reports.recognition import recogniser_of, vouches

CANARY = 0.9  # of the canary's pictures must be recognisable
TAKEN = 0.05  # of the adversary's pictures may be removed without a word
PLACED = 0.9  # of the patches; where so many have their token, a search for the others changes little
PLACING = ("placed", "placed_blindly")

FLAGS: list[Flag] = []
flag = registering(FLAGS)


@flag(
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


@flag(
    "only blind baselines",
    raised_if="no attack was run that rebuilds {noun}s from tokens.",
    what_to_do="Run attacks: leave `--attack` out, or name some (`atm list attacks`).",
)
def _only_blind(case: Case) -> str | None:
    rebuilt = [a for a in case.attacks if a != case.run.baselines.retrieval]
    if rebuilt:
        return None
    return f"no attack was run that rebuilds {case.run.signal.noun}s, only blind baselines or retrieval"


@flag(
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


@flag(
    "time budget cut",
    raised_if="an attack was ended by a time budget.",
    what_to_do="Give it the time that it needs: a larger `--budget`, in seconds for each policy; 0 sets no limit.",
)
def _time_cut(case: Case) -> str | None:
    return case.of_records(lambda r: r.cut, "was ended by the time budget")


@flag(
    "too few images",
    raised_if=f"fewer than {FEWEST_IMAGES} {{noun}}s were attacked.",
    what_to_do=f"Attack more: `--images {FEWEST_IMAGES}` or above.",
    could=EITHER,
)
def _too_few_images(case: Case) -> str | None:
    images = len(case.run.per_image(case.policy, "correct"))
    if images < FEWEST_IMAGES:
        few = told_of(images, f"{case.run.signal.noun}s were attacked")
        return f"only {few}; a claim about privacy needs at least {FEWEST_IMAGES}"
    return None


@flag(
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


@flag(
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


@flag(
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


@flag(
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


@flag(
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


@flag(
    "part of the suite",
    raised_if="only some of the suite's attacks and of the inferences that the threat model permits were asked for.",
    what_to_do="Run them all: leave `--attack` out.",
)
def _part_of_the_suite(case: Case) -> str | None:
    left = case.run.about.get("left_out")
    name = case.run.about["threat"]["name"]
    return f"not asked for, though the adversary “{name}” could run them: {', '.join(left)}" if left else None


@flag(
    "a quick run",
    raised_if="attacks took the few steps of `--quick`.",
    what_to_do="Drop `--quick`.",
)
def _quick_run(case: Case) -> str | None:
    return "attacks took few steps, and stronger ones may leak more" if case.run.about["config"].get("quick") else None
