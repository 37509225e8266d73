"""A secret order of tokens."""

from __future__ import annotations

import torch

from atm.defence import Defence
from atm.errors import AtmError
from atm.knowledge import Knowledge
from atm.tokens import TokenBatch


class Shuffle(Defence):
    """Sends each image's free tokens in a random order, drawn anew for every image.

    The order is secret randomness of the device, which nobody else needs: sizes travel with their tokens, and the
    server's layers and head do not ask for the order. So the merge map is denied to every adversary, though she knows
    that and how tokens are shuffled. What the tokens themselves tell about their places stays, and an attack may
    recover it (`attacks.alignment`). A model whose attention needs places (rotary, relative bias) must send
    them, which would undo the shuffle; it is refused.
    """

    name = "shuffle"
    denies = Knowledge.MERGE_MAP

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The same tokens in another order; the device's own merge map follows them."""
        if tokens.places is not None:
            raise AtmError(
                "defence 'shuffle' hides nothing here: this victim's attention needs the places of its tokens, so they "
                "are sent along; choose a victim with absolute position embeddings"
            )
        return tokens.shuffled(generator)[0]

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens: the order is found out, not guessed."""
        return tokens
