"""``python -m atm``: the command of the same name, which is the application's."""

from audit.cli import main

main()
