"""The adversary's side of a session: exactly what her threat model grants, and the only thing an attack is handed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.rows import Rows, few
from atm.signals import Signal
from atm.threat import Observation, ThreatModel
from attacks.alignment import Alignment
from attacks.base import OWN_DEVICE, Method
from attacks.budget import Budget
from attacks.language import LanguageModel
from attacks.placer import Placer
from attacks.recorded import Recorded

A = TypeVar("A", bound=Method)


@dataclass(frozen=True)
class Doors:
    """What a session lets an oracle do, as functions, so that nothing else of it can be reached; a token's width."""

    tap: Callable[[Tensor, int, ThreatModel], Observation]
    recorded: Callable[[int, ThreatModel, bool], Recorded]
    link: Callable[[], Link]
    fitted: Callable[[type[Any], ThreatModel, Budget, dict[str, Any]], Any]
    shared: Callable[[type[Any], ThreatModel, Budget, dict[str, Any]], Any]
    under: Callable[[MergePolicy, ThreatModel, Budget], Oracle]
    over: Callable[[Rows, ThreatModel, Budget], Oracle]
    width: int


@dataclass(frozen=True)
class Oracle:
    """What one adversary has against one system.

    Attributes:
        threat: who she is, as she is against this system.
        images: ``[N, C, H, W]`` float in [0, 1], her auxiliary images, never the victims'; only the rows that are asked
            for are in memory (`atm.rows.Rows`), ``images[:]`` is all of them. The last tenth comes from other originals
            than the rest, so that it can be held out to choose parameters and checkpoints.
        labels: ``[N]`` int64 of the victims' classes; None where her images have other classes.
        unsent: ``[M, C, H, W]``, images of hers for which she has no queries.
        signal: what her images are made of.
        told: what the wire tells her, which she cannot pretend not to know.
        budget: of the attack that holds this oracle.
        prior: a language model, if she has one.
        placer: what places tokens, if she has trained it before.
    """

    threat: ThreatModel
    images: Rows
    labels: Tensor | None
    unsent: Rows | None
    signal: Signal
    told: Knowledge
    budget: Budget
    doors: Doors
    prior: LanguageModel | None = None
    placer: Placer | None = None

    @property
    def knows(self) -> Knowledge:
        """What she knows beside the tokens."""
        return self.threat.knows

    @property
    def device(self) -> torch.device:
        """Where her images are, and everything that is computed from them."""
        return self.images.device

    def observe(self, rows: Tensor | None = None, draw: int = 0) -> Observation:
        """What she sees of her auxiliary images, which are sent once for each draw of the channel's noise.

        Args:
            rows: numbers of images; None is all of them, which may be more than memory holds.
            draw: of the noise.

        Raises:
            KnowledgeError: she has not so many queries.
        """
        return self._selected(self.doors.recorded(draw, self.threat, False), rows)

    def tap(self, images: Tensor, draw: int = 0) -> Observation:
        """What she sees of other images of hers, ``[n, C, H, W]``.

        Raises:
            KnowledgeError: she has not so many queries.
        """
        return self.doors.tap(images, draw, self.threat)

    def rehearse(self, rows: Tensor | None = None) -> Observation:
        """What she sees of some of her images when she plays the device herself: the same, and her own merge map.

        Whoever has the device's weights and its policy runs it herself, and knows where each of her own patches went,
        also where a defence hides that of the victims.

        Raises:
            KnowledgeError: she lacks the weights or the policy.
        """
        return self._selected(self.doors.recorded(0, self.threat, True), rows)

    def mapped(self, rows: Tensor | None = None) -> Observation:
        """What she sees of her auxiliary images, or of some rows, with a merge map: the true or the likeliest one."""
        recorded = self.doors.recorded(0, self.threat, False)
        if recorded.frame.tokens.source is None:
            source = self.fitted(OwnMap).source
            tokens = replace(recorded.frame.tokens, source=source)
            recorded = replace(recorded, frame=replace(recorded.frame, tokens=tokens))
        return self._selected(recorded, rows)

    @property
    def lengths(self) -> Tensor:
        """``[N]`` int64: the tokens that each of her images is sent as."""
        return self.doors.recorded(0, self.threat, False).frame.tokens.lengths

    def batches(self, rows: Tensor | None = None) -> tuple[Tensor, ...]:
        """Numbers of her images, all or some, in parts of which the features of all patches fit well into memory."""
        rows = torch.arange(len(self.images)) if rows is None else rows
        return rows.split(few(2 * self.signal.places * self.doors.width))

    def _selected(self, recorded: Recorded, rows: Tensor | None) -> Observation:
        return recorded.select(torch.arange(len(recorded)) if rows is None else rows)

    def complete(self, seen: Observation) -> Observation:
        """An observation with a merge map: its own, or where that is hidden the one that `attacks.alignment` finds.

        Raises:
            KnowledgeError: it is hidden, and she lacks what it takes to find it.
        """
        if seen.tokens.source is not None:
            return seen
        return self.fitted(Alignment).complete(seen)

    def policy(self) -> MergePolicy:
        """What merges. Raises `atm.errors.KnowledgeError` where it is denied."""
        self.threat.require(Knowledge.POLICY, "the policy")
        return self.doors.link().policy

    def own_device(self) -> Link:
        """Her own copy of the system, differentiable, through which she may send what she likes.

        Raises:
            KnowledgeError: she lacks weights, codec or policy.
        """
        self.threat.require(OWN_DEVICE, "a device of her own")
        return self.doors.link()

    def under(self, policy: MergePolicy) -> Oracle:
        """The same adversary with her own copy of the device under another policy.

        Raises:
            KnowledgeError: she has no device of her own.
        """
        self.threat.require(OWN_DEVICE, "a device of her own")
        return self.doors.under(policy, self.threat, self.budget)

    def over(self, images: Rows) -> Oracle:
        """The same adversary with other images of hers ``[n, C, H, W]`` by rows, without labels.

        They are sent when she first observes them, which raises `KnowledgeError` where she has not so many queries.
        """
        return self.doors.over(images, self.threat, self.budget)

    def without(self, less: Knowledge) -> Oracle:
        """The same adversary pretending to know less, as far as she can."""
        return replace(self, threat=self.threat.without_knowledge(less & ~self.told))

    def within(self, budget: Budget) -> Oracle:
        """The same within another budget."""
        return replace(self, budget=budget)

    def fitted(self, make: type[A], **parameters: Any) -> A:
        """What several attacks need, fitted once against this system: the same object for whoever asks again."""
        found: A = self.doors.fitted(make, self.threat, self.budget, parameters)
        return found

    def shared(self, make: type[A], **parameters: Any) -> A:
        """What is fitted once for many policies, on the oracle of the unmerged one."""
        found: A = self.doors.shared(make, self.threat, self.budget, parameters)
        return found


@dataclass
class OwnMap(Method):
    """The merge map of her own images where it is hidden, found once."""

    name: ClassVar[str] = "own-map"

    def fit(self, oracle: Oracle) -> None:
        """Complete what she saw of them, part by part."""
        parts = [oracle.complete(oracle.observe(rows)).tokens.source for rows in oracle.batches()]
        self.source = torch.cat([part for part in parts if part is not None])
