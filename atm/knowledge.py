"""What an adversary may know beside the tokens, and the words for it."""

from __future__ import annotations

from enum import Flag, auto


class Knowledge(Flag):
    """What an adversary may know, and what an attack may need."""

    NOTHING = 0
    WEIGHTS = auto()
    CODEC = auto()
    POLICY = auto()
    MERGE_MAP = auto()
    SIZES = auto()
    SNR = auto()
    AUXILIARY = auto()
    ORDER = auto()
    EVERYTHING = WEIGHTS | CODEC | POLICY | MERGE_MAP | SIZES | SNR | AUXILIARY | ORDER


# In the words of a kind of signal, which stand in braces.
WORDS: dict[Knowledge, str] = {
    Knowledge.WEIGHTS: "the victim's weights",
    Knowledge.CODEC: "the codec's weights",
    Knowledge.POLICY: "the merging policy",
    Knowledge.MERGE_MAP: "which {parts} each token stands for (the merge map)",
    Knowledge.SIZES: "how many {parts} each token stands for",
    Knowledge.SNR: "the signal-to-noise ratio",
    Knowledge.AUXILIARY: "auxiliary {noun}s of the same distribution, none of them a victim's",
    Knowledge.ORDER: "the order in which the device sent the tokens",
}
