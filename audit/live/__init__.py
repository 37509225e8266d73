"""The link as processes: a device, a server, a radio channel between them, and somebody who listens.

Raises `AtmError` on import where the packages of the extra ``live`` are missing.
"""

from __future__ import annotations

import importlib.util

from atm.errors import AtmError
from privacy_metrics.extras import extra

_MISSING = [name for name in ("zmq", "msgpack", "aiohttp") if importlib.util.find_spec(name) is None]
if _MISSING:
    raise AtmError(f"a live link needs {' and '.join(_MISSING)}; {extra('live')}")
