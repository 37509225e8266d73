"""Every word is explained once: the glossary and the pages take it from one table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from atm.signals import SIGNALS
from reports import terms
from reports.page import Parts, image_of, in_code

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
    assert {"policy", "leakage", "verdict", "word error rate", "recognisable", "blind baseline", "flag", "symbols",
            "SNR", "threat model", "interval"} <= asked <= terms.TERMS.keys()  # fmt: skip


def test_a_word_is_explained_in_place_and_at_the_end():
    parts = Parts()
    link = parts.term("near copy", "<b>")
    assert 'href="#term-near-copy"' in link and "&lt;b&gt;" in link and terms.in_short("near copy") in link
    parts.term("near copy")
    assert [(name, words) for _, name, words in parts.words] == [("near copy", terms.plain_words("near copy"))]


@pytest.mark.parametrize("name", [kind.name for kind in SIGNALS.values()])
def test_a_page_explains_words_in_those_of_what_was_attacked(name):
    parts = Parts(SIGNALS[name])
    for term in ("token", "symbols", "leakage", "recognisable", "near copy", "blind baseline", "repeat", "finding"):
        parts.term(term)
    said = " ".join(words for *_, words in parts.words)
    assert SIGNALS[name].noun in said and SIGNALS[name].parts[:4] in said and "{" not in said
    assert ("picture" in said) == ("SSIM" in said.replace("spectrogram SSIM", "")) == ("image" in name)


def test_two_figures_of_a_page_share_no_identifier():
    first, second = (
        image_of(f'<svg a="{n}"><g id="m"/><use xlink:href="#m"/><p clip-path="url(#m)"/></svg>', '"a"') for n in (1, 2)
    )
    ids = [re.findall(r'(?:id="|href="#|url\(#)([^")]+)', text) for text in (first, second)]
    assert [len(set(found)) for found in ids] == [1, 1] and ids[0] != ids[1] and len(ids[0]) == 3
    assert 'role="img" aria-label="&#34;a&#34;"' in first


def test_backticks_are_code_and_everything_is_escaped():
    assert in_code("run `<b>` & see") == "run <code>&lt;b&gt;</code> &amp; see"
