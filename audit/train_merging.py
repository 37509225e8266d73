"""``atm train merging``: a folder with a policy that was learned for one victim, and how it came about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load as read_state
from safetensors.torch import save

from atm.data import Samples
from atm.errors import AtmError, unknown
from atm.merging_training import LEARNS, MergingTraining, Recipe
from atm.policy import MergePolicy
from atm.store import RunStore, remove, write
from atm.victims import Victim
from audit.command_lines import command_line, without_folders
from audit.train import samples_of
from privacy_metrics.statistics import paired_difference

POLICY, CARD, LOSSES, CHECKPOINT = "policy.yaml", "card.md", "losses.jsonl", "checkpoint"
STATE = "state.safetensors"
EVERY = 25  # steps between two checkpoints


@dataclass(frozen=True)
class MergingConfig:
    """What ``atm train merging`` is asked for, beside the victim.

    Attributes:
        words: of the command line that name the victim.
        data: pictures to learn from.
        test_data: pictures that are judged; None takes the test split of ``data``.
        target_flops: part of the device's unmerged FLOPs that the policy is to spend.
        learn: one of `atm.merging_training.LEARNS`.
        privacy: weight of what a linear adversary explains.
        exit_layer: after which the tokens leave the device; None is the last.
        steps: of training.
        batch: pictures per step.
        images: pictures to learn from, at most.
        seed: of everything that is random.
        label_by: see `audit.system.System`.

    Raises:
        AtmError: numbers or words that are none.
    """

    words: str
    data: str
    test_data: str | None = None
    target_flops: float = 0.5
    learn: str = "matching"
    privacy: float = 0.0
    exit_layer: int | None = None
    steps: int = 400
    batch: int = 32
    images: int = 8000
    seed: int = 0
    label_by: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.target_flops < 1:
            raise AtmError(
                f"--target-flops {self.target_flops:g} is not in (0, 1), the part of the unmerged FLOPs to spend"
            )
        if self.learn not in LEARNS:
            raise unknown("learn", self.learn, LEARNS)
        if not 0 <= self.privacy < float("inf"):
            raise AtmError(f"--privacy {self.privacy:g} is no weight; give 0 or more")
        if self.steps < 1 or self.batch < 2 or self.images < self.batch:
            raise AtmError(
                f"--steps {self.steps}, --batch {self.batch} and --images {self.images}: give 1 step or more, "
                "batches of 2 or more, and as many images as a batch has"
            )

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def command(self) -> str:
        """The command line that asks for the same, without the folders of this machine."""
        return command_line(f"atm train merging {self.words}", self, without_folders, without=("words",))

    def recipe(self) -> Recipe:
        """How it is trained."""
        learn = next(each for each in LEARNS if each == self.learn)
        return Recipe(self.target_flops, learn, self.privacy, self.steps, self.batch)


def merging(
    target: Victim, config: MergingConfig, out: Path, *, resume: bool, force: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train merging for a victim and write the policy, its maps and a card; what the card says.

    Args:
        target: the victim, on its device.
        config: what to train.
        out: the folder.
        resume: go on with the training that is there.
        force: replace the training that is there.
        say: called with a line for each step.

    Raises:
        AtmError: a victim without a task, data that cannot be read, more than can be saved, or another training there.
    """
    target.need_logits("atm train merging")
    depth = target.encoder.depth
    if config.exit_layer is not None and not 1 <= config.exit_layer <= depth:
        raise AtmError(f"--exit-layer {config.exit_layer} is not in 1 to {depth}, the layers of victim {target.name!r}")
    with RunStore(out, "merging", config.as_dict(), resume=resume, force=force) as store:
        train, test = samples_of(target, config.data, config.test_data, config.seed, config.label_by, config.images)
        if len(train) < config.batch:
            raise AtmError(f"{config.data} has {len(train)} pictures to learn from, fewer than --batch {config.batch}")
        training = MergingTraining(target, train, config.recipe(), config.exit_layer, config.seed)
        store.begin({"config": config.as_dict(), "victim": target.digest, "data": train.digest})
        _train(training, store, say)
        policy = training.policy(Path(out).name)
        say("measuring what it does to test pictures")
        told = measured(target, policy, test, {*train.hashes})
        for old in store.path.glob("maps-*.safetensors"):
            remove(old)
        policy.write(store.path / POLICY)
        content = {"policy": str(store.path / POLICY), **policy.as_dict(), **told, "command": config.command()}
        write(store.path / CARD, card(target, policy, config, train, told))
    return content


def _train(training: MergingTraining, store: RunStore, say: Callable[[str], None]) -> None:
    state = store.read_bytes(CHECKPOINT, STATE)
    if state is not None:
        training.take_up(read_state(state))
    known, recent = {record.get("step") for record in store.records(LOSSES)}, list[dict[str, float]]()
    total = training.recipe.steps
    say("asking the unmerged victim")
    for told in training.steps():
        recent.append(told)
        spent = f"divergence {told['divergence']:.4f}, FLOPs {told['flops']:.3f}"
        say(f"[{training.step}/{total}] {spent}" + (f", leak {told['leak']:.3f}" if training.recipe.privacy else ""))
        if training.step % EVERY == 0 or training.step == total:
            means = {name: fmean(each[name] for each in recent) for name in told if name != "step"}
            if training.step not in known:
                store.append(LOSSES, {"step": training.step, **means})
            store.write_folder([CHECKPOINT], {STATE: save(training.state())})
            recent.clear()


@torch.no_grad()
def measured(target: Victim, policy: MergePolicy, test: Samples, trained_on: set[str]) -> dict[str, Any]:
    """What a policy costs and spends on test pictures; of those that are trained on, only what it spends."""
    dense = MergePolicy.uniform(1.0, policy.depth, exit_layer=policy.exit_layer)
    answers = target.answers(test)
    assert answers.truth is not None
    right: dict[str, list[torch.Tensor]] = {"dense": [], "merged": []}
    flops, tokens = {"dense": 0.0, "merged": 0.0}, 0
    for rows in torch.arange(len(test)).split(64):
        images = test.subset(rows).inputs.to(target.encoder.device)
        for name, each in (("dense", dense), ("merged", policy)):
            encoded = target.encoder(images, each)
            logits = target.encoder.finish(encoded.tokens, each)
            right[name].append(logits.argmax(-1).cpu() == answers.truth[rows])
            flops[name] += float(encoded.flops.sum())
        tokens += int(encoded.tokens.lengths.sum())
    told: dict[str, Any] = {"flops": flops["merged"] / flops["dense"], "tokens": tokens / len(test)}
    if trained_on & set(test.hashes):
        return told
    both = [torch.cat(right[name]).double() for name in ("merged", "dense")]
    lost = paired_difference(both[1], both[0])
    named = {"accuracy": float(both[0].mean()), "unmerged_accuracy": float(both[1].mean()), "test_images": len(test)}
    return {**told, **named, "lost": [lost.estimate, lost.low, lost.high], "task": answers.name}


def card(target: Victim, policy: MergePolicy, config: MergingConfig, train: Samples, told: dict[str, Any]) -> str:
    """The card of a policy that was learned, as Markdown."""
    rows = {
        "victim": f"{target.name}, SHA-256 `{target.digest}`",
        "learned from": f"{train.name}, {len(train)} pictures, digest `{train.digest}`",
        "thresholds": " ".join(f"{threshold:.4f}" for threshold in policy.thresholds),
        "FLOPs of the unmerged device": f"{told['flops']:.1%}, asked for {config.target_flops:.1%}",
        "tokens sent": f"{told['tokens']:.1f}",
    }
    if policy.maps is not None:
        shapes = sorted({f"{policy.maps.width} to {policy.maps.compared(layer)}" for layer in range(policy.depth)})
        rows["maps"] = f"{', '.join(shapes)} values a layer, SHA-256 `{policy.maps.digest}`"
    if "accuracy" in told:
        lost, low, high = (100 * part for part in told["lost"])
        rows[str(told["task"])] = (
            f"{told['accuracy']:.1%}; {lost:.1f} points less than unmerged, 95% from {low:.1f} to {high:.1f}, on "
            f"{told['test_images']} test pictures"
        )
    else:
        rows["accuracy"] = "not told: the test pictures are trained on; give others with --test-data"
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    what = "what is compared and how alike merges" if policy.maps is not None else "thresholds"
    hides = " and to what a linear adversary reads" if config.privacy else ""
    return (
        f"# {policy.name}\n\nA merging policy for one victim: {what}, learned from its own unmerged answers{hides}. "
        "Whether it leaks less is for `atm attack` to say, with attacks that it was not trained against.\n\n"
        f"Command: `{config.command()}`\n\n| | |\n| --- | --- |\n{lines}\n"
    )
