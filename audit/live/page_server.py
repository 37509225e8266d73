"""The live page: served to this machine alone, by a thread beside the device; it asks nobody else for anything."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib.resources import files
from typing import Any

from aiohttp import WSMsgType, web

from atm.errors import AtmError
from audit.live.sockets import LOCAL

HOST = "127.0.0.1"
MOST_WATCHERS = 16
MOST_WORDS = 1024  # bytes that a watcher may send, who has nothing to say but a policy's name
POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'"
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
FILES = {
    "/": ("audit.live", "page/live.html", "text/html"),
    "/live.js": ("audit.live", "page/live.js", "text/javascript"),
    "/live.css": ("audit.live", "page/live.css", "text/css"),
    "/page.css": ("reports", "templates/page.css", "text/css"),
}


class Page:
    """A page that shows whatever it is told last, of each kind.

    Args:
        port: of this machine; 0 takes any that is free.

    Attributes:
        address: to open in a browser.

    Raises:
        AtmError: the port is taken.
    """

    def __init__(self, port: int) -> None:
        self._last: dict[str, str] = {}
        self._watchers: set[asyncio.Event] = set()
        self._listeners: list[Callable[[str], None]] = []
        self._loop = asyncio.new_event_loop()
        bound: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(port, bound), daemon=True)
        self._thread.start()
        try:
            self.address = f"http://{HOST}:{bound.result()}/"
        except OSError as error:
            raise AtmError(f"the page cannot have port {port}: {error.strerror}") from None

    def show(self, kind: str, told: dict[str, Any]) -> None:
        """Something new of a kind: ``about``, ``choice``, ``frame``, ``heard``. A slow watcher gets the newest only."""
        text = json.dumps({"kind": kind, **told}, allow_nan=False)
        self._loop.call_soon_threadsafe(self._tell, kind, text)

    def listen(self, picked: Callable[[str], None]) -> None:
        """From now on call something, in the page's thread, with each policy that a watcher picks."""
        self._loop.call_soon_threadsafe(self._listeners.append, picked)

    def close(self) -> None:
        """Let go of the port."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _tell(self, kind: str, text: str) -> None:
        self._last[kind] = text
        for each in self._watchers:
            each.set()

    def _run(self, port: int, bound: Future[int]) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self._application(), access_log=None)
        try:
            bound.set_result(self._loop.run_until_complete(_begun(runner, port)))
        except OSError as error:
            bound.set_exception(error)
            return
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_local_only])
        for path in FILES:
            application.router.add_get(path, _file)
        application.router.add_get("/frames", self._frames)
        return application

    async def _frames(self, request: web.Request) -> web.StreamResponse:
        if len(self._watchers) >= MOST_WATCHERS:
            raise web.HTTPServiceUnavailable(text="too many watch already")
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=MOST_WORDS)
        await socket.prepare(request)
        news = asyncio.Event()
        news.set()
        self._watchers.add(news)
        telling = asyncio.create_task(self._told(socket, news))
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
                if message.type is WSMsgType.TEXT and (policy := _picked(message.data)) is not None:
                    for each in self._listeners:
                        each(policy)
        finally:
            self._watchers.discard(news)
            telling.cancel()
        return socket

    async def _told(self, socket: web.WebSocketResponse, news: asyncio.Event) -> None:
        had: dict[str, str] = {}
        while True:
            await news.wait()
            news.clear()
            for kind, text in list(self._last.items()):
                if had.get(kind) is not text:
                    had[kind] = text
                    await socket.send_str(text)


def _picked(text: str) -> str | None:
    """The policy that a watcher picks; None of words that have no meaning here."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    policy = told.get("policy") if isinstance(told, dict) and len(told) == 1 else None
    return policy if isinstance(policy, str) else None


async def _begun(runner: web.AppRunner, port: int) -> int:
    await runner.setup()
    site = web.TCPSite(runner, HOST, port, shutdown_timeout=1)
    await site.start()
    found: int = runner.addresses[0][1]
    return found


async def _file(request: web.Request) -> web.Response:
    package, name, kind = FILES[request.path]
    return web.Response(text=files(package).joinpath(name).read_text(encoding="utf-8"), content_type=kind)


@web.middleware
async def _local_only(request: web.Request, handler: Any) -> web.StreamResponse:
    """Pages of others have no access, under whatever name they reach this machine."""
    origin = request.headers.get("Origin")
    name, colon, _ = request.host.rpartition(":")  # port 80 is not named
    if (name if colon else request.host) not in LOCAL or origin not in (None, f"http://{request.host}"):
        raise web.HTTPForbidden(text="this page is for this machine")
    response: web.StreamResponse = await handler(request)
    if not response.prepared:
        response.headers.update(HEADERS)
    return response
