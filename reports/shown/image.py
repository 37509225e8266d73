"""A picture as a picture, inside the page itself."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from reports.shown import Shot


def show(shot: Shot) -> Markup:
    """The PNG as a data URI."""
    uri = "data:image/png;base64," + base64.b64encode(shot.content).decode()
    return Markup('<img src="{}" alt="{} of picture {}" data-name="{}" data-caption="{}">').format(
        uri, shot.name, shot.number, shot.name, shot.caption
    )
