"""Messages that wait for their turn: a few of each device, and the devices in turn."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

MOST_EACH = 2  # messages of one device: a frame, and the same again whose answer was lost


@dataclass(frozen=True)
class Waiter:
    """A message that waits.

    Attributes:
        way: the return address.
        data: the message.
        since: when it came, in seconds of some clock.
    """

    way: tuple[bytes, ...]
    data: bytes
    since: float


class Waiting:
    """Bounded queues, one for each return address.

    Args:
        most: messages in all.
    """

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._queues: OrderedDict[tuple[bytes, ...], deque[Waiter]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    @property
    def devices(self) -> int:
        """With a message that waits."""
        return len(self._queues)

    @property
    def full(self) -> bool:
        """Whether there is no room for anybody's."""
        return self._count >= self._most

    def put(self, waiter: Waiter) -> bool:
        """Take a message in; False, and nothing done, where its device has enough of them here already."""
        queue = self._queues.get(waiter.way)
        if self.full or (queue is not None and len(queue) >= MOST_EACH):
            return False
        self._queues.setdefault(waiter.way, deque()).append(waiter)
        self._count += 1
        return True

    def take(self, most: int) -> list[Waiter]:
        """The oldest message of each of so many devices, those first whose turn was longest ago."""
        taken = []
        for way in list(self._queues)[:most]:
            queue = self._queues.pop(way)
            taken.append(queue.popleft())
            if queue:
                self._queues[way] = queue  # behind all others
        self._count -= len(taken)
        return taken
