"""Every word is explained once: the glossary and the pages take it from one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reports import terms
from reports.page import Parts

ROOT = Path(__file__).parents[2]
TEMPLATES = [*(ROOT / "reports/templates").glob("*.j2"), *(ROOT / "audit/pareto/templates").glob("*.j2")]


def test_the_glossary_says_what_the_table_does():
    page = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    assert page == terms.document(), "run: python -m reports.terms > docs/glossary.md"
    assert len(terms.TERMS) == sum(map(len, terms.SECTIONS.values())) == page.count("- **")


@pytest.mark.parametrize("name", terms.TERMS)
def test_an_explanation_is_one_short_plain_line(name):
    assert len(terms.in_short(name)) < 180 and not re.search(r"[*`\n]|\]\(", terms.plain_words(name))
    assert terms.plain_words(name).startswith(terms.in_short(name)) and terms.in_short(name).endswith(".")


def test_templates_use_words_that_are_explained():
    asked = {word for path in TEMPLATES for word in re.findall(r'term\("([^"]+)"', path.read_text(encoding="utf-8"))}
    assert {"policy", "leakage", "SSIM", "verdict", "recognisable", "blind baseline", "flag", "symbols", "SNR",
            "threat model", "interval"} <= asked <= terms.TERMS.keys()  # fmt: skip


def test_a_word_is_explained_in_place_and_at_the_end():
    parts = Parts()
    link = parts.term("near copy", "<b>")
    assert 'href="#term-near-copy"' in link and "&lt;b&gt;" in link and terms.in_short("near copy") in link
    parts.term("near copy")
    assert [(name, words) for _, name, words in parts.words] == [("near copy", terms.plain_words("near copy"))]
