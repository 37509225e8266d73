"""Which attacks the others are held against, and which stand for them where few are to run, for each kind of signal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Baselines:
    """Attacks that have a part, by name.

    Attributes:
        constant: blind ones, which read no token and give one answer to everything.
        random: a blind one that answers with a real signal of the adversary's own, drawn at random.
        plain: which of the constant ones an attack comes down to where it learns nothing.
        retrieval: answers with a signal that the adversary has, and rebuilds none.
        closed_form: solved in closed form, the one that rebuilds the canary and that a sweep fits at every point.
        learned: trained step by step, the one that a comparison fits beside it.
    """

    constant: tuple[str, ...]
    random: str
    plain: str
    retrieval: str
    closed_form: str
    learned: str

    @property
    def blind(self) -> tuple[str, ...]:
        """All that read no token; a report shows beside every attack what they reach."""
        return (*self.constant, self.random)


OF_ARRAYS = Baselines(("mean_image", "best_constant"), "random_image", "mean_image", "nearest", "ridge", "decoder")
BASELINES = {
    "image": OF_ARRAYS,
    "asked-image": OF_ARRAYS,
    "log-mel": OF_ARRAYS,
    "fbank": OF_ARRAYS,
    "text": Baselines(
        ("common_words", "commonest_word"), "random_sentence", "commonest_word", "nearest_sentence",
        "word_ridge", "word_decoder",
    ),
}  # fmt: skip
"""By `atm.signals.Signal.name`."""
