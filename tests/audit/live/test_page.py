"""The live page: what it shows, in a browser; who may see it; and that foreign words are words."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import torch

from atm.errors import AtmError
from audit.live.choosing import Choice
from audit.live.device import Answered, encode
from audit.live.drawing import DROPPED, merged, png_of
from audit.live.page_server import HEADERS, MOST_WATCHERS, Page
from audit.live.protocol import Overheard
from audit.live.server import Server
from audit.live.watching import Watch
from tests.audit.live.systems import joined, live, several, shot
from tests.browser import browser

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def page():
    made = Page(0)
    yield made
    made.close()


def answered(number: int = 0) -> Answered:
    here = live()
    server, sending = Server(here), encode(here.modes[0], shot(number), 0)
    answer = server.reply(sending.frame(joined(server)).pack())
    return Answered(sending, answer, seconds={**sending.seconds, "air and network": 0.004, "server": 0.002})


def watch(page: Page, name: str = EVIL) -> Watch:
    here = replace(live(), classes=(name,) * 5)
    return Watch(page, here, Choice(here.modes), f"about {name}")


def test_patches_of_one_token_have_one_colour_and_dropped_ones_none():
    image = torch.rand(3, 8, 8)
    shown = merged(image, torch.tensor([1, 1, 2, -1]), (2, 2))
    assert shown.shape == (3, 224, 224)
    top, bottom = shown[:, :112], shown[:, 113:]
    torch.testing.assert_close(top, image[:, :4].mean((1, 2))[:, None, None].expand_as(top))
    left, right = bottom[:, :, :112], bottom[:, :, 113:]
    torch.testing.assert_close(left, image[:, 4:, :4].mean((1, 2))[:, None, None].expand_as(left))
    assert bool((right == DROPPED).all())
    assert bool((shown[:, 112] == 1).all() and (shown[:, 113:, 112] == 1).all()), "lines between different tokens"


def test_all_is_shown_in_a_browser_and_foreign_words_are_words(page, tmp_path: Path):
    watched, frame = watch(page), answered()
    watched.frame(frame, 3, 2, 1)
    heard = Overheard(number=0, attack=EVIL, png=png_of(shot(0).image), score=None, snr_db=5.0)
    watched.overheard(heard)
    with browser(tmp_path) as tab:
        tab.go(page.address, 1100)
        tab.wait("!document.getElementById('heard').hidden")
        text = tab.run("document.body.innerText")
        assert EVIL in text and "about " + EVIL in text
        tokens = frame.sending.tokens.counts[0]
        for words in (frame.sending.mode.name, f"{tokens} tokens of 16 patches",
                      f"{frame.answer.symbols}", "3 answered, 2 lost or refused",
                      "4.0", "encoder", "air and network", "5.0 dB", "1.00"):  # fmt: skip
            assert words in text, words
        assert tab.run("document.querySelectorAll('main img').length") == 3
        assert tab.run("[...document.querySelectorAll('main img')].every(i => i.naturalWidth > 0)")
        own = {f"{page.address}{name}" for name in ("page.css", "live.css", "live.js")}
        assert set(tab.requests) <= own, "of nobody else"
        assert tab.complaints == []
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
        watched.frame(replace(frame, answer=None, refused="lost"), 3, 3, 1)
        tab.wait("document.getElementById('answer').textContent === 'no answer'")
        for scheme, width in (("light", 400), ("dark", 1100)):
            tab.go(page.address, width, scheme)
            tab.wait("!document.getElementById('heard').hidden")
            assert tab.run("document.documentElement.scrollWidth <= innerWidth")
            found = importlib.util.find_spec("axe_core_python")
            if found is None or not found.submodule_search_locations:
                continue
            tab.run((Path(found.submodule_search_locations[0]) / "axe.min.js").read_text(encoding="utf-8") + "; 0")
            problems = tab.run(
                "axe.run().then(r => r.violations.map(v => v.id + ': ' + v.nodes[0].html.slice(0, 150)))"
            )
            assert problems == [], problems


def test_a_policy_is_picked_in_the_browser_and_its_name_is_a_word(page, tmp_path: Path):
    here = several()
    evil = replace(here.modes[1], link=here.link.with_policy(here.modes[1].link.policy.renamed(EVIL)))
    choice = Choice((here.modes[0], evil, here.modes[2]))
    Watch(page, here, choice, "about")
    with browser(tmp_path) as tab:
        tab.go(page.address, 400)
        tab.wait("document.getElementById('pick').options.length === 3")
        assert tab.run("[...document.getElementById('pick').options].map(o => o.text)") == choice.names
        assert tab.run("document.getElementById('pick').value") == choice.picked == here.modes[0].name
        tab.run(
            "{const p = document.getElementById('pick'); p.selectedIndex = 1; p.dispatchEvent(new Event('change'))}"
        )
        deadline = time.monotonic() + 30
        while choice.picked != EVIL and time.monotonic() < deadline:
            time.sleep(0.01)
        assert choice.next() is evil
        tab.go(page.address, 400)
        tab.wait("document.getElementById('pick').selectedIndex === 1")
        assert tab.run("document.querySelectorAll('header img').length") == 0 and tab.complaints == []
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")


def test_words_of_watchers_that_name_no_policy_change_nothing(page):
    here = several()
    choice = Choice(here.modes)
    Watch(page, here, choice, "about")
    names = choice.names

    async def say() -> str:
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(page.address + "frames")
            for words in ("", "[", "[" * 900, "null", "7", '"none"', "{}", json.dumps({"policy": "foreign"}),
                          json.dumps({"policy": [names[1]]}), json.dumps({"policy": names[1], "more": 1}),
                          json.dumps({"policy": None})):  # fmt: skip
                await socket.send_str(words)
            await socket.send_bytes(json.dumps({"policy": names[1]}).encode())
            before = choice.picked
            await socket.send_str(json.dumps({"policy": names[2]}))
            while choice.picked == before:
                await socket.receive()
            return before

    assert asyncio.run(say()) == names[0] and choice.picked == names[2]


def test_a_port_that_is_taken_is_refused(page):
    with pytest.raises(AtmError, match="cannot have port"):
        Page(int(page.address.split(":")[2].strip("/")))


def asked(page: Page, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    async def ask() -> tuple[int, dict[str, str], str]:
        async with aiohttp.ClientSession() as session, session.get(page.address + path, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.text()

    return asyncio.run(ask())


def test_pages_of_others_have_no_access(page):
    status, headers, text = asked(page, "")
    assert status == 200 and "A live link" in text and HEADERS.items() <= headers.items()
    assert asked(page, "", Host="evil.example:80")[0] == 403, "another name for this machine"
    assert asked(page, "frames", Origin="http://evil.example")[0] == 403
    assert asked(page, "../../pyproject.toml")[0] == 404 and asked(page, "page/live.html")[0] == 404


def test_a_slow_watcher_gets_the_newest_and_there_are_not_too_many(page):
    async def look() -> list[int]:
        async with aiohttp.ClientSession() as session:
            first = await session.ws_connect(page.address + "frames")
            for number in range(500):
                page.show("frame", {"number": number, "filling": "x" * 10_000})
            seen = []
            while not seen or seen[-1] != 499:
                seen.append(json.loads((await first.receive()).data)["number"])
            others = [await session.ws_connect(page.address + "frames") for _ in range(MOST_WATCHERS - 1)]
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(page.address + "frames")
            await others[0].send_str("x" * 5000)  # who has nothing to say
            assert (await others[0].receive()).data is not None
            return seen

    seen = asyncio.run(look())
    assert seen == sorted(set(seen)), "none twice"


def test_a_listener_who_is_quicker_than_the_server_is_scored_all_the_same(page):
    told = []
    page.show = lambda kind, what: told.append((kind, what))  # type: ignore[method-assign]
    watched = watch(page)
    watched.overheard(Overheard(number=0, attack="a", png=png_of(shot(0).image), score=None, snr_db=0.0))
    assert [kind for kind, _ in told] == ["about", "choice"]
    watched.frame(answered(), 1, 0, 0)
    assert [kind for kind, _ in told] == ["about", "choice", "frame", "heard"] and told[-1][1]["score"] > 0.98


@pytest.mark.parametrize("png", [b"", b"\x89PNG", b"GIF89a", png_of(torch.zeros(3, 4, 4))[:45]])
def test_a_listeners_picture_that_is_none_is_not_shown(page, png):
    told = []
    page.show = lambda kind, what: told.append(kind)  # type: ignore[method-assign]
    watched = watch(page)
    watched.frame(answered(), 1, 0, 0)
    watched.overheard(Overheard(number=0, attack="a", png=png, score=None, snr_db=0.0))
    assert told == ["about", "choice", "frame"]
