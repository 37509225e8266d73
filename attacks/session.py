"""One adversary against one system: what was sent, what was fitted, and the secrets that neither may share.

A `Session` owns transmissions, fitted attacks, seeds and queries; nothing of it outlives it. Sessions of several
policies that are attacked together share a `Campaign`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from atm.encoder import Encoded
from atm.encodings import Encodings
from atm.errors import KnowledgeError
from atm.knowledge import Knowledge
from atm.link import Link, Transmission
from atm.policy import MergePolicy
from atm.rows import Held, Rows
from atm.seeds import seed_of
from atm.threat import Observation, ThreatModel
from attacks import base
from attacks.base import Method
from attacks.beginning import Beginning
from attacks.budget import Budget, Plan
from attacks.language import LanguageModel
from attacks.oracle import Doors, Oracle
from attacks.placer import Placer
from attacks.recorded import Recorded


@dataclass
class Campaign:
    """What the sessions of one repeat share.

    Attributes:
        seed: of what attacks draw.
        secret: of what the device and the channel draw: noise, the victims' order. No oracle tells it.
        quick: whether attacks take their quick parameters.
        plan: the steps of every loop.
        name: the first part of their loops' names in the plan.
        fitted: what was fitted for many policies.
        prior: a language model, which everybody may have.
        placer: what places tokens, trained before for this device.
    """

    seed: int = 0
    secret: int = 0
    quick: bool = False
    plan: Plan = field(default_factory=Plan)
    name: str = ""
    fitted: dict[Any, Method] = field(default_factory=dict)
    prior: LanguageModel | None = None
    placer: Placer | None = None


class Queries:
    """How many images went through a device that is not the adversary's own."""

    def __init__(self, threat: ThreatModel) -> None:
        self.threat, self.sent = threat, 0

    def count(self, images: int) -> None:
        """Raise `KnowledgeError` if these are more than she may send."""
        most = self.threat.queries
        if most is not None and self.sent + images > most:
            raise KnowledgeError(
                f"threat model {self.threat.name!r} allows {most} queries, and {self.sent + images} images were sent"
            )
        self.sent += images


class Session:
    """One adversary against one link.

    Args:
        link: the system.
        threat: who she is.
        images: ``[N, C, H, W]``, her auxiliary images, in memory or by rows; see `attacks.oracle.Oracle`.
        labels: ``[N]`` of the victims' classes, or None.
        unsent: ``[M, C, H, W]``, images for which she has no queries.
        encoded: what the device computes of ``images``, where others need that too.
        campaign: what it shares with others.
        queries: of the session that this one is derived from.

    Raises:
        KnowledgeError: such an adversary cannot be against this system.
    """

    def __init__(
        self,
        link: Link,
        threat: ThreatModel,
        images: Tensor | Rows,
        *,
        labels: Tensor | None = None,
        unsent: Tensor | Rows | None = None,
        encoded: Encodings | None = None,
        campaign: Campaign | None = None,
        queries: Queries | None = None,
    ) -> None:
        link.wire.refuse(threat.name, threat.knows)
        self.link, self.threat = link, threat.on(link)
        self.images, self.labels = _rows(images).to(link.device), labels
        self.unsent = None if unsent is None else _rows(unsent).to(link.device)
        self._encoded = encoded
        self.campaign = Campaign() if campaign is None else campaign
        self.signal = link.signal
        self.queries = Queries(self.threat) if queries is None else queries
        self._heard: dict[Any, Recorded] = {}
        self._seen: dict[Any, Recorded] = {}
        self._fitted: dict[Any, Method] = {}
        self._under: dict[MergePolicy, Session] = {}
        self._identity = repr(replace(link.policy, name=""))

    def oracle(self, budget: Budget | None = None, threat: ThreatModel | None = None) -> Oracle:
        """What an attack is handed."""
        doors = Doors(
            tap=lambda images, draw, who: self._tap(images, draw, who),
            recorded=lambda draw, who, own: self._recorded(draw, who, own),
            link=lambda: self.link,
            fitted=lambda make, who, within, parameters: self._fit(make, who, within, parameters),
            shared=lambda make, who, within, parameters: self._share(make, who, within, parameters),
            under=lambda policy, who, within: self.under(policy).oracle(within, who),
            over=lambda images, who, within: self.over(images).oracle(within, who),
            width=max(self.link.encoder.width, 2 * self.link.codec.symbols_per_token),
        )
        budget = self.budget() if budget is None else budget
        threat = self.threat if threat is None else threat
        told = Knowledge.NOTHING if threat.tap == "before-codec" else self.link.wire.tells
        shared = self.campaign
        return Oracle(
            threat, self.images, self.labels, self.unsent, self.signal, told, budget, doors, shared.prior, shared.placer
        )

    def budget(self, seconds: float = float("inf"), owner: str = "") -> Budget:
        """A budget whose loops are named after this session and their owner."""
        return Budget(seconds, self.campaign.plan, f"{self.campaign.name}{self.link.policy.name}/{owner}")

    def victims(self, images: Tensor | Encoded | Encodings) -> tuple[Transmission, Observation, Tensor]:
        """Send the attacked images, or what the device computed of them.

        Returns:
            The transmission, what the adversary sees of it, and the true merge map ``[B, P]`` of what she sees.
        """
        transmission = self.link.transmit(images, seed_of(self.campaign.secret, "victims"))
        ear = seed_of(self.campaign.secret, "ear")
        heard = self.threat.hear(transmission, self.link, ear)
        return (
            transmission,
            self.threat.told(heard, self.link, ear),
            self.threat.true_map(heard, self.link, ear),
        )

    def fitted(self, make: type[Method], budget: Budget | None = None, **parameters: Any) -> Any:
        """An attack of this adversary, fitted: the same one that others start from."""
        return self._fit(make, self.threat, self.budget() if budget is None else budget, parameters)

    @property
    def beginning(self) -> Beginning | None:
        """What became of the placer in what was fitted so far; None where nothing was handed one."""
        return next((each.beginning for each in self._fitted.values() if each.beginning is not None), None)

    def seeded(self, name: str) -> int:
        """The seed of what an attack of some name draws."""
        return seed_of(self.campaign.seed, self._identity, name)

    def under(self, policy: MergePolicy) -> Session:
        """The same adversary with a copy of the device under another policy; she does not ask the real one."""
        if policy not in self._under:
            self._under[policy] = Session(
                self.link.with_policy(policy),
                self.threat,
                self.images,
                labels=self.labels,
                unsent=self.unsent,
                campaign=self.campaign,
                queries=self.queries,
            )
        return self._under[policy]

    def over(self, images: Rows) -> Session:
        """The same adversary with other images of hers, without labels; on the way they meet noise of their own."""
        made = Session(self.link, self.threat, images, campaign=self.campaign, queries=self.queries)
        made._identity = f"{self._identity}, other images"
        return made

    def _tap(self, images: Tensor, draw: int, threat: ThreatModel) -> Observation:
        heard = Observation.cat(list(self._hear(images, draw, threat)))
        return threat.told(heard, self.link, self._ear(draw))

    def _recorded(self, draw: int, threat: ThreatModel, own: bool) -> Recorded:
        ears = threat.ears(self.link)
        if (draw, ears) not in self._heard:
            images = self.images if self._encoded is None else self._encoded
            self._heard[draw, ears] = Recorded.of(self._hear(images, draw, threat))
        heard, key = self._heard[draw, ears], (draw, threat, own)
        if key not in self._seen:
            self._seen[key] = replace(heard, frame=threat.told(heard.frame, self.link, self._ear(draw), own))
        return self._seen[key]

    def _hear(self, images: Tensor | Rows | Encodings, draw: int, threat: ThreatModel) -> Iterator[Observation]:
        """What reaches her of images that are sent now, batch by batch."""
        if not self.threat.runs_the_device:
            self.queries.count(len(images))
        sent = self.link.stream(images, seed_of(self.campaign.secret, self._identity, "tap", draw))
        for number, part in enumerate(sent):
            yield threat.hear(part, self.link, seed_of(self._ear(draw), number))

    def _ear(self, draw: int) -> int:
        return seed_of(self.campaign.secret, self._identity, "hers", draw)

    def _fit(self, make: type[Any], threat: ThreatModel, budget: Budget, parameters: dict[str, Any]) -> Any:
        key = (make, threat, repr(sorted(parameters.items())))
        if key not in self._fitted:
            pretence = "" if threat == self.threat else f"-{threat.knows.value:x}"
            owner = f"{self.campaign.name}{self.link.policy.name}/{make.name}{pretence}"
            self._fitted[key] = self._made(make, threat, budget.of(owner), parameters, self.seeded(make.name))
        return self._fitted[key]

    def _share(self, make: type[Any], threat: ThreatModel, budget: Budget, parameters: dict[str, Any]) -> Any:
        policy, exits = self.link.policy, self.link.policy.device_layers
        unmerged = replace(
            policy,
            thresholds=(1.0,) * self.link.encoder.depth,
            remove=(),
            order="place" if policy.order == "energy" else policy.order,  # by energy only numbers are removed
            exit_layer=exits,
            name=f"shared-{exits}",
        )
        key = (make, threat, unmerged, repr(sorted(parameters.items())))
        if key not in self.campaign.fitted:
            mine, seed = self.under(unmerged), seed_of(self.campaign.seed, "shared", exits, make.name)
            owner = f"{self.campaign.name}{unmerged.name}/{make.name}"
            self.campaign.fitted[key] = mine._made(make, threat, budget.of(owner), parameters, seed)
        return self.campaign.fitted[key]

    def _made(self, make: type[Any], threat: ThreatModel, budget: Budget, parameters: dict[str, Any], seed: int) -> Any:
        attack = base.made(make, self.campaign.quick, **parameters)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():  # whoever asks for it may want no gradients
            torch.manual_seed(seed)
            attack.fit(self.oracle(budget, threat))
        return attack


def _rows(images: Tensor | Rows) -> Rows:
    return images if isinstance(images, Rows) else Held(images)
