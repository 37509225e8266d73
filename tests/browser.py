"""A headless Chromium that tests open pages in, spoken to through two pipes: nothing is installed, no port is open."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
]  # fmt: skip
PATIENCE = 240.0  # seconds that an answer may take on a busy machine
QUIET = 0.3  # seconds without a word after which a page is taken to be at rest


class Browser:
    """One tab.

    Attributes:
        requests: addresses that the page has asked for, other than data and its own file.
        complaints: what the console said: errors, exceptions and refused requests.
    """

    def __init__(self, process: subprocess.Popen[bytes], write: int, read: int) -> None:
        self._process, self._write, self._read = process, write, read
        self._number, self._rest = 0, b""
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(PATIENCE)
            assert answer is not None, f"no answer to {method}"
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def open(self, page: Path, width: int, scheme: str = "light") -> None:
        """Open a file in a window of so many pixels, and wait until it is loaded and at rest."""
        self.go(page.as_uri(), width, scheme)
        while self._next(QUIET) is not None:
            pass

    def go(self, address: str, width: int, scheme: str = "light") -> None:
        """Open an address in a window of so many pixels, and wait until it is loaded."""
        self.requests, self.complaints = [], []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._events = []
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            assert self._next(PATIENCE) is not None, "the page does not load"

    def wait(self, condition: str) -> None:
        """Wait until an expression in the page is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, f"never true: {condition}"
            self._next(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited if it is a promise."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key of the keyboard, as a person does."""
        text = {"text": "\r"} if key == "Enter" else {}
        codes = {"Enter": 13, "Tab": 9, "Escape": 27, "ArrowRight": 39, "ArrowLeft": 37, "Home": 36, "End": 35}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
                **(text if kind == "keyDown" else {}),
            )  # fmt: skip

    def hover(self, selector: str) -> None:
        """Move the pointer over the middle of an element, or of its first line."""
        x, y = self.run(
            f"""(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: "center"}});
            const b = e.getClientRects()[0]; return [b.x + b.width / 2, b.y + b.height / 2]; }})()"""
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, whole: bool = True) -> None:
        """A screenshot of the window, or of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def printed(self) -> bytes:
        """The page on paper, as PDF."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None where none comes in time."""
        import select

        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                return None
            part = os.read(self._read, 1 << 20)
            assert part, f"the browser ended: {self._process.poll()}"
            self._rest += part
        line, self._rest = self._rest.split(b"\0", 1)
        message = dict(json.loads(line))
        self._events.append(message)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent" and about["type"] != "Document":
            self.requests += [url for url in [about["request"]["url"]] if not url.startswith(("data:", "blob:"))]
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
            self.complaints.append(str(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.complaints.append(str(about["entry"]["text"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in a folder; the test is skipped where there is none."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs Chromium, which is not installed")
    hears, write = os.pipe()
    read, speaks = os.pipe()

    def plumb() -> None:
        high = [os.dup(hears), os.dup(speaks)]  # out of the way of 3 and 4, where Chromium listens and answers
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=plumb, close_fds=False,
    )  # fmt: skip
    os.close(hears)
    os.close(speaks)
    try:
        yield Browser(process, write, read)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(write)
        os.close(read)
