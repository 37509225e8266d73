"""A sentence as text, in which the words that are also in the original, in their order, are marked."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from reports.shown import Shot

GAP = "…"  # where no word was found
GLUED, SPACED = "##", "Ġ"  # how tokenizers write the rest of a word, and the beginning of one


def show(shot: Shot) -> Markup:
    """The sentence, its words marked; the original has none marked."""
    mine, truth = (content.decode(errors="replace").split("\n") for content in (shot.content, shot.original))
    matches = SequenceMatcher(None, mine, truth, autojunk=False).get_matching_blocks()
    right = {place for match in matches for place in range(match.a, match.a + match.size) if mine[place]}
    marks = set() if shot.name == "original" else right
    words = Markup("").join(_word(piece, place, place in marks) for place, piece in enumerate(mine))
    return Markup('<p class="sentence" data-name="{}" title="{}">{}</p>').format(shot.name, shot.caption, words)


def _word(piece: str, place: int, marked: bool) -> Markup:
    glued = place > 0 and piece.startswith(GLUED)
    text = piece.removeprefix(GLUED).replace(SPACED, "") or GAP
    space = "" if glued or not place else " "
    return Markup("{}<mark>{}</mark>" if marked else "{}{}").format(space, text)
