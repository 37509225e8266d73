"""``python -m audit``: the same as ``atm``."""

from audit.cli import main

main()
