"""Under which policy a device makes its next frame: the first, whichever somebody picks, or what a controller says."""

from __future__ import annotations

import math
from collections.abc import Callable

from atm.errors import AtmError, unknown
from audit.live.controller import Controller
from audit.live.system import Mode

BY_SNR = "by SNR"  # the controller, among the names of policies


class Choice:
    """Changes only between frames; somebody may pick from another thread.

    Args:
        modes: the policies; the first is the one to begin with.
        controller: chooses by the SNR that the server measures, and permits what leaks little enough; None leaves the
            first until another is picked.
        room: symbols that the air has for a frame.
        say: called with a line when the air gets better than any that was measured.

    Raises:
        AtmError: the controller knows policies that are none of these.
    """

    def __init__(
        self,
        modes: tuple[Mode, ...],
        controller: Controller | None = None,
        room: float = math.inf,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if not room > 0:
            raise AtmError(f"--room {room:g} must be a number of symbols above 0")
        self._modes = {mode.name: mode for mode in modes}
        self._controller, self._room, self._say = controller, room, say
        self._picked = modes[0].name if controller is None else BY_SNR
        if controller is not None:
            permitted = [each.name for each in controller.permitted]
            for name in permitted:
                if name not in self._modes:
                    raise unknown("policy", name, self._modes)
            self._modes = {name: self._modes[name] for name in permitted}
            self._chosen, self._beyond = controller.least.name, False  # until something is measured

    @property
    def names(self) -> list[str]:
        """That may be picked."""
        return [*([] if self._controller is None else [BY_SNR]), *self._modes]

    @property
    def picked(self) -> str:
        """One of ``names``."""
        return self._picked

    def pick(self, name: str) -> bool:
        """Send the next frames under a policy, or `BY_SNR`; False, and nothing changes, where there is none such."""
        if name not in self.names:
            return False
        self._picked = name
        return True

    def next(self) -> Mode:
        """The policy of the next frame; what was picked waits for air in which it is permitted."""
        picked, controller = self._picked, self._controller
        if controller is not None and picked not in [each.name for each in controller.within]:
            picked = self._chosen
        return self._modes[picked]

    def heard(self, snr_db: float) -> None:
        """What the server measured of a frame, in dB; infinite where there is no noise, and NaN is nothing."""
        if self._controller is not None and not math.isnan(snr_db):
            self._chosen = self._controller.choose(snr_db, self._room).name
            beyond = self._controller.beyond
            if beyond and not self._beyond:
                self._say(f"{snr_db:.4g} dB is more than was measured: {self._chosen}, which leaks least, is sent")
            self._beyond = beyond
