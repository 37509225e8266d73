"""``atm train projector``: a folder with a victim that answers questions, made of a tower and a language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load as read_state
from safetensors.torch import save

from atm.asked_encoder import AskedEncoder
from atm.data.questions import Questions, QuestionSet
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.projector_training import ProjectorTraining, Recipe
from atm.seeds import seed_of
from atm.store import RunStore, write
from atm.victims.assembled import FILE, PROMPT, Joined, Parts, relative
from atm.victims.hub import CONFIG
from atm.weight_files import file_digest, write_weights
from audit import harm
from audit.command_lines import command_line, without_folders
from privacy_metrics.statistics import wilson

CARD, LOSSES, CHECKPOINT, STATE = "card.md", "losses.jsonl", "checkpoint", "state.safetensors"
EVERY = 25  # steps between two checkpoints


@dataclass(frozen=True)
class ProjectorConfig:
    """What ``atm train projector`` is asked for.

    Attributes:
        victim: the tower, by timm's name.
        weights: a file with its weights.
        image_size: of the pictures; None takes what the weights were made for.
        layers: of the tower that are read; None leaves out the last one.
        lm: folder or hub name of the language model.
        data: pictures with questions.
        prompt: see `atm.language.Language`.
        steps: of training.
        batch: questions per step.
        rate: the highest learning rate.
        images: pictures to learn from, at most.
        test_images: pictures that are answered at the end, at most.
        seed: of everything that is random.

    Raises:
        AtmError: numbers that are none.
    """

    victim: str
    lm: str
    data: str
    weights: str | None = None
    image_size: str | None = None
    layers: int | None = None
    prompt: str = PROMPT
    steps: int = 300
    batch: int = 8
    rate: float = 1e-3
    images: int = 2000
    test_images: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.images, self.test_images) < 1 or not 0 < self.rate < 1:
            raise AtmError(
                f"--steps {self.steps}, --batch {self.batch}, --images {self.images} and --test-images "
                f"{self.test_images} must be 1 or more, and --rate {self.rate:g} between 0 and 1"
            )
        if self.layers is not None and self.layers < 1:
            raise AtmError(f"--layers {self.layers} must be 1 or more")

    def command(self) -> str:
        """The command line that asks for the same, without the folders of this machine."""
        return command_line("atm train projector", self, without_folders)

    def parts(self, depth: int) -> Parts:
        """What is joined, of a tower of some depth."""
        return Parts(
            model_type="atm-asked",
            tower=self.victim,
            weights=self.weights,
            image_size=self.image_size,
            layers=max(depth - 1, 1) if self.layers is None else self.layers,
            language=self.lm,
            prompt=self.prompt,
        )


def projector(
    config: ProjectorConfig, depth: int, out: Path, device: torch.device, *, resume: bool, force: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Train a projector and write the folder of the victim that it makes, with a card; what the card says.

    Args:
        config: what to train.
        depth: of the tower.
        out: the folder.
        device: where it is trained.
        resume: go on with the training that is there, to the same number of steps or another one.
        force: replace the training that is there.
        say: called with a line for each step.

    Raises:
        AtmError: tower, language model or data that cannot be read or used, or another training there.
    """
    parts = config.parts(depth)
    with RunStore(out, "projector", vars(config), resume=resume, force=force, free=("steps", "test_images")) as store:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of("projector", config.seed))
            joined = Joined(parts)
        language = joined.language.to(device)
        encoder = AskedEncoder(joined.vit, language, joined.mean, joined.std).eval().requires_grad_(False).to(device)
        tower = Encoder(joined.vit, joined.mean, joined.std).eval().to(device)  # to which no language model belongs
        train = Questions().load(
            encoder.signal, config.data, "train", limit=config.images, seed=config.seed, distinct=True
        )
        test = Questions().load(
            encoder.signal, config.data, "test", limit=config.test_images, seed=config.seed, distinct=True,
            seen=train.hashes,
        )  # fmt: skip
        for line in (*train.skipped, *test.skipped):
            say(f"skipped {line}")
        recipe = Recipe(config.steps, config.batch, config.rate)
        identity = {"victim": joined.digests["tower"], "images": train.digest}
        training = ProjectorTraining(tower, language, train, recipe, config.seed, identity)
        store.begin({"config": vars(config), **joined.digests, "data": train.digest})
        say(f"computing the tokens of {len(train)} pictures")
        training.encoded.prepare()
        _train(training, store, say)
        description = {
            **joined.digests,
            "kind": "projector",
            "data": {"name": train.name, "images": len(train), "digest": train.digest},
            "steps": config.steps,
            "batch": config.batch,
            "seed": config.seed,
        }
        say(f"answering questions about {len(test)} test pictures")
        told = answered(encoder, train, test)
        write_weights(store.path / FILE, language.projector, {**description, **told})
        content = relative(parts, store.path).model_dump(exclude_none=True)
        write(store.path / CONFIG, json.dumps(content, indent=2) + "\n")
        write(store.path / CARD, card(config, train, {**description, **told}, file_digest(store.path / FILE)))
    return {"victim": str(out), **told, "command": config.command()}


def _train(training: ProjectorTraining, store: RunStore, say: Callable[[str], None]) -> None:
    state = store.read_bytes(CHECKPOINT, STATE)
    if state is not None:
        training.take_up(read_state(state))
    known, recent = {record.get("step") for record in store.records(LOSSES)}, list[float]()
    for loss in training.steps():
        recent.append(loss)
        say(f"[{training.step}/{training.recipe.steps}] loss {loss:.3f}")
        if training.step % EVERY == 0 or training.step == training.recipe.steps:
            if training.step not in known:
                store.append(LOSSES, {"step": training.step, "loss": fmean(recent)})
            store.write_folder([CHECKPOINT], {STATE: save(training.state())})
            recent.clear()


@torch.no_grad()
def answered(encoder: AskedEncoder, train: QuestionSet, test: QuestionSet) -> dict[str, Any]:
    """How often the unmerged victim answers right: the answer with the least loss, the exact one, and the floor.

    The floor is what the question alone tells: its commonest answer among the training pictures.
    """
    encoder.language.eval()
    policy = MergePolicy.uniform(1.0, encoder.depth)
    right, exact = list[bool](), list[bool]()
    for rows in torch.arange(len(test)).split(16):
        part = test.subset(rows)
        tokens = encoder(part.inputs.to(encoder.device), policy).tokens
        scored = encoder.score(tokens, policy, [each[0].text for each in part.asked], test.classes)
        right += (scored.losses.argmin(1) == part.labels).tolist()
        exact += scored.exact[torch.arange(len(part)), part.labels].tolist()
    asked = [each[0] for each in test.asked]
    guessed = harm.commonest([train], [each.text for each in asked])
    blind = sum(guess == each.answer for guess, each in zip(guessed, asked, strict=True))
    rates = {"accuracy": wilson(sum(right), len(right)), "exact": wilson(sum(exact), len(exact))}
    told: dict[str, Any] = {name: each.estimate for name, each in rates.items()}
    bounds = {f"{name}_interval": [each.low, each.high] for name, each in rates.items()}
    return {**told, **bounds, "floor": blind / len(test), "test_images": len(test)}


def card(config: ProjectorConfig, train: QuestionSet, told: dict[str, Any], digest: str) -> str:
    """The card of a projector, as Markdown."""
    shares = {name: "{:.1%} [{:.1%}, {:.1%}]".format(told[name], *told[f"{name}_interval"])
              for name in ("accuracy", "exact")}  # fmt: skip
    rows = {
        "tower": f"{config.victim}, SHA-256 `{told['tower']}`",
        "language model": f"{without_folders(config.lm)}, SHA-256 `{told['language']}`",
        "learned from": f"{train.name}, {len(train)} pictures, digest `{train.digest}`",
        "steps": f"{config.steps} of {config.batch} questions",
        "least loss among the answers": f"{shares['accuracy']} of {told['test_images']} test pictures",
        "exact answers": shares["exact"],
        "by the question alone": f"{told['floor']:.1%}",
    }
    lines = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return (
        "# Projector\n\nA projector of this project between a vision tower and a language model, as safetensors.\n\n"
        f"Command: `{config.command()}`\n\nSHA-256: `{digest}`\n\n| | |\n| --- | --- |\n{lines}\n"
    )
