"""``python -m audit``: the command ``atm``."""

from audit.cli import main

main()
