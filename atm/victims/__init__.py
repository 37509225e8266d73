"""Victims: the models under attack, by name, with the weights that people have."""

from atm.finite import check_finite
from atm.victims.answers import Answers
from atm.victims.load import load_victim
from atm.victims.own import victims
from atm.victims.victim import Victim

__all__ = ["Answers", "Victim", "check_finite", "load_victim", "victims"]
