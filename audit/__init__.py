"""The application: command line, runs on disk, and the evaluation of attacks on policies.

Its functions are what users do: `attack` policies, write a `report`, `search` policies. They are imported when they are
first asked for, since what computes takes seconds to import, and the command line answers most mistakes without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from audit import lazy

if TYPE_CHECKING:
    from audit.configs import AttackConfig
    from audit.evaluate import attack
    from audit.search import SearchConfig, search
    from reports.html import write_report as report

__all__ = ["AttackConfig", "SearchConfig", "attack", "report", "search"]

__getattr__, __dir__ = lazy.names(
    __name__,
    {
        "AttackConfig": "audit.configs:AttackConfig",
        "SearchConfig": "audit.search.config:SearchConfig",
        "attack": "audit.evaluate:attack",
        "report": "reports.html:write_report",
        "search": "audit.search.run:search",
    },
)

# `audit.search` is a package as well. Python binds its name here once, when it is first imported: let that be now, and
# the function answers to the name whatever is imported later.
import_module("audit.search")
del globals()["search"]
