"""``python -m atm``: whatever the distribution has installed as the command ``atm``, which is of a floor above."""

from importlib.metadata import distribution

(command,) = distribution("atm-privacy").entry_points.select(group="console_scripts", name="atm")
command.load()()
