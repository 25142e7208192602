"""Headless Chromium, driven through its debugging pipe: pages, real keys, dark and narrow screens, what went wrong."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from time import monotonic
from typing import Any

import pytest

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PATIENCE_S = 120
KEYS = {
    **{"Tab": 9, "Enter": 13, " ": 32, "Home": 36, "End": 35},
    **{"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40},
}


@dataclass
class Page:
    """An open page. `errors`: of its scripts, and of what it may not load; `requests`: what it asked for."""

    _browser: _Browser
    _target: str
    _session: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The document as it stands, with what scripts have made."""
        return str(self.run("document.documentElement.outerHTML"))

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys: str) -> None:
        """Keys as a person presses them, one after the other."""
        for key in keys:
            names = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": KEYS[key]}
            typed = {"text": {" ": " ", "Enter": "\r"}[key]} if key in (" ", "Enter") else {}
            self._call("Input.dispatchKeyEvent", type="keyDown", **names, **typed)
            self._call("Input.dispatchKeyEvent", type="keyUp", **names)

    def point(self, x: float, y: float) -> None:
        """Move the mouse there, in pixels of what is on the screen."""
        self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def type(self, words: str) -> None:
        self._call("Input.insertText", text=words)

    def resize(self, width: int, height: int = 1000) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.settle()

    def emulate(self, media: str = "", **features: str) -> None:
        """Show it as on paper (`media="print"`), or as with a preference (`prefers_color_scheme="dark"`)."""
        wanted = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._call("Emulation.setEmulatedMedia", media=media, features=wanted)
        self.settle()

    def settle(self) -> None:
        """Two frames drawn: what was asked for is on the screen."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def screenshot(self, path: Path) -> Path:
        """The whole page as PNG."""
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self._call("Page.printToPDF")["data"]))
        return path

    def close(self) -> None:
        """What was noted of it stays."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)


class _Browser:
    """One process; messages are JSON that ends with a zero byte."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        flags = (
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
            *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
        )
        # Chromium reads from descriptor 3 and writes to 4
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash", CHROMIUM, *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands, answers),
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self._received = b""
        self._count = 0
        self._pages: dict[str, Page] = {}
        self._loaded: set[str] = set()  # by their loaders: a blank page's load may be told late

    def open(self, url: str, width: int = 1200) -> Page:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        self.call("Page.setLifecycleEventsEnabled", session, enabled=True)
        page.resize(width)
        loader = self.call("Page.navigate", session, url=url)["loaderId"]
        while loader not in self._loaded:
            self._receive()
        page.settle()
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        deadline = monotonic() + PATIENCE_S
        while b"\0" not in self._received:
            ready, _, _ = select([self._answers], [], [], max(0.0, deadline - monotonic()))
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            assert chunk, "Chromium does not answer"
            self._received += chunk
        first, self._received = self._received.split(b"\0", 1)
        message: dict[str, Any] = json.loads(first)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        page = self._pages.get(message.get("sessionId", ""))
        if page is None:
            return
        match message.get("method"), message.get("params", {}):
            case "Page.lifecycleEvent", {"name": "load", "loaderId": loader}:
                self._loaded.add(loader)
            case "Runtime.exceptionThrown", what:
                page.errors.append(json.dumps(what["exceptionDetails"]))
            case "Runtime.consoleAPICalled", {"type": "error" | "assert"} as what:
                page.errors.append(json.dumps(what["args"]))
            case "Log.entryAdded", {"entry": {"level": "error"} as what}:
                page.errors.append(what["text"])
            case "Network.requestWillBeSent", what:
                page.requests.append(what["request"]["url"])

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # its own group, its helpers with it
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


@contextmanager
def chromium(folder: Path) -> Iterator[_Browser]:
    """A browser with a fresh profile in a folder; skipped without Chromium, except in CI, where that is a failure."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: '.ci/run' installs it with 'make browser'")
        pytest.skip("no Chromium here: 'make browser' installs it")
    browser = _Browser(folder)
    try:
        yield browser
    finally:
        browser.close()


@dataclass(frozen=True)
class Opened:
    """What was seen of a page, once it was closed."""

    text: str
    errors: list[str]
    screenshot: Path


def open_page(path: Path, folder: Path) -> Opened:
    """Open a file, look at it and close it."""
    with chromium(folder / "profile") as browser:
        page = browser.open(path.as_uri())
        return Opened(page.text, page.errors, page.screenshot(folder / "page.png"))
