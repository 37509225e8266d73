"""Pages of every kind in a browser: narrow and wide, light and dark, by hand and by keyboard, and on paper."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, browser
from tests.reports.pages import PAGES

pytestmark = pytest.mark.browser
A4 = 703  # pixels between the margins
# What sticks out of the window sideways, without what scrolls by itself.
SPILT = """[...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll, .skip, thead, svg *") &&
  e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.outerHTML.slice(0, 120))"""
CUT = SPILT.replace('".scroll, .skip, thead, svg *"', '".skip, details, thead, svg *"')


@pytest.fixture(scope="module")
def tab(tmp_path_factory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tab) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {kind: make(folder / kind) for kind, make in PAGES.items()}


@pytest.mark.parametrize("width", [400, 1300])
@pytest.mark.parametrize("kind", PAGES)
def test_nothing_is_asked_for_nothing_sticks_out_and_nothing_fails(tab, pages, kind, width):
    tab.open(pages[kind], width)
    assert tab.requests == [] and tab.complaints == []
    assert tab.run("document.documentElement.scrollWidth <= innerWidth") and tab.run(SPILT) == []
    assert tab.run("document.body.innerText.length") > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_nothing(tab, pages, kind, scheme):
    found = importlib.util.find_spec("axe_core_python")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs axe-core-python, which is not installed")
    tab.open(pages[kind], 1300, scheme)
    tab.run('document.querySelectorAll("details").forEach(d => { d.open = true })')
    tab.run((Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8") + "; 0")
    # What plotly draws is its own, and has its numbers in tables beside it.
    problems = tab.run(
        """axe.run({exclude: [[".plotly-graph-div"]]}, {runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})
        .then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html.slice(0, 150)).join(" | ")))"""
    )
    assert problems == [], problems


@pytest.mark.parametrize("kind", PAGES)
def test_headings_captions_and_contents_are_in_order(tab, pages, kind):
    tab.open(pages[kind], 1300)
    levels = tab.run('[...document.querySelectorAll("h1, h2, h3")].map(h => +h.tagName[1])')
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    anchors = tab.run('[...document.querySelectorAll(".contents a")].map(a => a.hash.slice(1))')
    assert anchors == tab.run('[...document.querySelectorAll("h2")].map(h => h.id)') and len(anchors) >= 4
    assert tab.run('document.querySelectorAll(".sortable").length > 0')
    assert tab.run('[...document.querySelectorAll(".sortable")].every(t => t.caption && t.tHead)')
    assert tab.run('[...document.querySelectorAll("th")].every(h => h.scope)')
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.press("Enter")
    assert tab.run("document.activeElement.id") == "content"


@pytest.mark.parametrize("kind", PAGES)
def test_words_are_explained_on_hover_and_on_focus(tab, pages, kind):
    seen = ".term:not(.stack thead .term)"  # the headings of stacked tables are there for the ear alone
    shown = f"""(() => {{ const tip = getComputedStyle(document.querySelector("{seen}"), "::after");
        return [tip.display, tip.content]; }})()"""
    tab.open(pages[kind], 400)
    assert tab.run(shown)[0] == "none"
    tab.hover(seen)
    display, words = tab.run(shown)
    assert display == "block" and len(words) > 20
    tab.press("Escape")
    assert tab.run(shown)[0] == "none"
    tab.open(pages[kind], 400)
    while not tab.run('document.activeElement.classList.contains("term")'):
        tab.press("Tab")
    focused = """getComputedStyle(document.activeElement, "::after").display"""
    assert tab.run(focused) == "block"
    assert tab.run("document.documentElement.scrollWidth") == 400
    assert tab.run("document.getElementById(document.activeElement.hash.slice(1)).innerText")


def test_tables_sort_by_their_headings_as_numbers(tab, pages):
    column = '[...document.querySelector(".sortable").tBodies[0].rows].map(r => parseFloat(r.cells[7].innerText))'
    tab.open(pages["compare"], 1300)
    before = tab.run(column)
    tab.run('document.querySelectorAll(".sortable th[scope=col]")[7].click()')
    assert tab.run(column) == sorted(before) != before
    tab.run('document.querySelectorAll(".sortable thead .sort")[7].focus()')
    tab.press("Enter")
    assert tab.run(column) == sorted(before, reverse=True)
    assert tab.run('document.querySelectorAll("[aria-sort=descending]").length') == 1
    assert tab.run('document.querySelectorAll("[aria-sort]").length') == 1


def test_pictures_slide_over_each_other_and_enlarge_with_the_keyboard(tab, pages):
    clip = """getComputedStyle(document.querySelector("{} .pair img + img")).clipPath"""
    tab.open(pages["attack"], 400)
    assert tab.run(clip.format(".picture")) == "inset(0px 0px 0px 50%)"
    tab.run('document.querySelector(".compare input").focus()')
    tab.press("ArrowRight")
    assert tab.run(clip.format(".picture")) == "inset(0px 0px 0px 51%)"
    assert tab.run('document.activeElement.getAttribute("aria-valuetext")') == "51% original"
    small = tab.run('document.querySelector(".shot img").getBoundingClientRect().width')
    tab.run('document.querySelectorAll(".shot")[1].focus()')
    tab.press("Enter")
    assert tab.run('document.querySelector("dialog").open')
    assert tab.run('document.querySelector("dialog .pair").getBoundingClientRect().width') > 3 * small
    assert tab.run("document.documentElement.scrollWidth") == 400
    tab.run('document.querySelector("dialog input").focus()')
    tab.press("End")
    assert tab.run(clip.format("dialog")) == "inset(0px 0px 0px 100%)"
    caption = 'document.querySelector("dialog p").innerText'
    first = tab.run(caption)
    tab.run('[...document.querySelectorAll("dialog .bar button")].find(b => b.innerText === "Next").click()')
    assert tab.run(caption) != first
    tab.press("Escape")
    assert not tab.run('document.querySelector("dialog").open')
    assert tab.run("document.activeElement.className") == "shot"


def test_a_flag_unfolds_in_place(tab, pages):
    tab.open(pages["attack"], 400)
    inside = 'document.querySelector(".flag div").checkVisibility()'
    assert not tab.run(inside)
    tab.run('document.querySelector(".flag summary").focus()')
    tab.press("Enter")
    assert tab.run(inside) and "Could change the verdict" in tab.run('document.querySelector(".flag div").innerText')


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_is_cut_on_paper(tab, pages, kind):
    tab.open(pages[kind], A4, "dark")
    tab.call("Emulation.setEmulatedMedia", media="print")
    try:
        cut = tab.run(CUT)
        assert cut == [], cut
        assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.printed().startswith(b"%PDF")
    finally:
        tab.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("kind", PAGES)
def test_without_scripts_it_can_be_read(tab, pages, kind):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(pages[kind], 400)
        assert tab.complaints == [] and tab.requests == []
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
        assert tab.run('document.querySelectorAll("button, input, dialog").length') == 0
        assert tab.run('[...document.querySelectorAll("h2")].every(h => h.checkVisibility())') and tab.run(SPILT) == []
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
