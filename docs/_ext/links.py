"""Files outside this folder that are pages of the site: a link to the file becomes one to its page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# What a reader of the repository follows, and the folder or page of the site that shows it.
PAGES = {
    "benchmarks/": "/benchmarks/",
    "atm/weights/": "/weights/",
    "CONTRIBUTING.md": "/contributing.md",
    "SECURITY.md": "/security.md",
    "CHANGELOG.md": "/changelog.md",
    "docs/": "/",
}
LINK = re.compile(rf"\]\((?:\.\./)*({'|'.join(map(re.escape, PAGES))})")


def site_links(text: str) -> str:
    """The same Markdown, its links to such files turned to pages."""
    return LINK.sub(lambda found: f"]({PAGES[found[1]]}", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Turn the links of each page as it is read, and of what it includes."""

    def read(_app: Sphinx, _page: str, source: list[str]) -> None:
        source[0] = site_links(source[0])

    def include(_app: Sphinx, _file: object, _page: str, source: list[str]) -> None:
        source[0] = site_links(source[0])

    app.connect("source-read", read)
    app.connect("include-read", include)
    return {"parallel_read_safe": True}
