"""A link that transmits nothing twice."""

from __future__ import annotations

from torch import Tensor

from atm.link import Link, Transmission


class RememberingLink(Link):
    """A link that transmits nothing twice: the attacks on one policy share what they send of the auxiliary images."""

    @classmethod
    def around(cls, link: Link, salt: int = 0) -> RememberingLink:
        """The same system, remembering; another ``salt`` gives other draws for the same seeds."""
        made = cls(link.encoder, link.policy, link.codec, link.channel, link.defence)
        made._sent, made._salt = {}, salt
        return made

    seed: int = 0
    _salt: int
    _sent: dict[tuple[int, tuple[int, ...], int], tuple[Tensor, Transmission]]

    def transmit(self, images: Tensor, seed: int = 0, batch: int = 128) -> Transmission:
        """What `Link.transmit` gives, from memory if these very images were sent with this seed."""
        key = (images.data_ptr(), tuple(images.shape), seed)
        if key not in self._sent:  # the images are kept too, so that their address stays theirs
            self._sent[key] = (images, super().transmit(images, seed + self._salt, batch))
        return self._sent[key][1]
