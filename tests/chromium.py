"""The machine's own Chromium, and a visitor in it who notes everything that goes wrong."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Locator, Request, Response, sync_playwright

ARE_PICTURES_KEPT = bool(os.environ.get("FEEDMILL_KEEP_PICTURES"))
SCREENSHOTS = Path(__file__).parents[1] / ".ci" / "out" / "screenshots"
DESKTOP, PHONE = (1280, 900), (390, 844)
PAGE = "the page itself"
# What Chromium would do by itself: ask its maker for updates, and try what loopback has not.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LOOKS_FOR_S = 15.0
# A page that is left gives up what it was asking for; nobody misses the answer.
_LEFT = "net::ERR_ABORTED"
# Each is known with its address from the response or the request that failed.
_ECHO = "Failed to load resource"


def find_chromium() -> str | None:
    """Return the path of a Chromium of the machine, if it has one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def chromium_running(executable: str) -> Iterator[Browser]:
    """Start Chromium without a window; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, headless=True, args=list(_FLAGS)
        )
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One who opens pages in a window. :meth:`come` makes a new one of them, in the same window.

    ``faults`` holds what a page may never do: errors in the console, breaches of its content
    policy among them, uncaught exceptions, requests that failed or were refused. What is refused
    on purpose is named in ``expected_statuses`` before.
    """

    def __init__(self, browser: Browser) -> None:
        self._context = browser.new_context(
            timezone_id="Europe/Lisbon",
            # Else a colour is on its way for a moment after the theme has changed.
            reduced_motion="reduce",
        )
        self._context.set_default_timeout(_LOOKS_FOR_S * 1000)
        self.page = self._context.new_page()
        self._devtools = self._context.new_cdp_session(self.page)
        self._base_url = ""
        self.faults: list[str] = []
        self.expected_statuses: set[int] = set()
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("requestfailed", self._note_failure)
        self.page.on("response", self._note_response)

    def come(self, base_url: str) -> None:
        """Begin anew at a server, with nothing kept, at a desk, in the light."""
        self._base_url = base_url
        self._context.clear_cookies()
        everything = {"origin": base_url, "storageTypes": "all"}
        self._devtools.send("Storage.clearDataForOrigin", everything)
        self.resize(DESKTOP)
        self.choose_theme("light")

    def leave(self) -> list[str]:
        """Leave the server; return the faults that were seen there."""
        self.page.goto("about:blank")
        faults, self.faults = self.faults, []
        self.expected_statuses.clear()
        return faults

    def open(self, path: str) -> None:
        """Go to a page and wait until it stands."""
        self.page.goto(self._base_url + path, wait_until="load")

    def resize(self, size: tuple[int, int]) -> None:
        self.page.set_viewport_size({"width": size[0], "height": size[1]})

    def choose_theme(self, theme: str) -> None:
        """Let the viewer's system prefer ``light`` or ``dark``."""
        self.page.emulate_media(color_scheme="dark" if theme == "dark" else "light")

    def link(self, name: str, *, exact: bool = True) -> Locator:
        return self.page.get_by_role("link", name=name, exact=exact).first

    def button(self, name: str, *, exact: bool = True) -> Locator:
        return self.page.get_by_role("button", name=name, exact=exact).first

    def message(self) -> Locator:
        """What the last action left on top."""
        return self.page.locator("#messages")

    def keep_picture(self, name: str, *, whole: bool = True) -> None:
        """Keep what is seen, where pictures are wanted: each takes half a second."""
        if ARE_PICTURES_KEPT:
            self.take_picture(SCREENSHOTS / f"{name}.png", whole=whole)

    def take_picture(self, path: Path, *, whole: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=whole)

    def sideways_px(self) -> int:
        """How far the page can be scrolled to the side."""
        found = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return max(0, int(found))

    def focus(self) -> tuple[str, bool]:
        """Return the name of what has the focus, and whether it is seen that it has."""
        name, is_seen = self.page.evaluate(
            """() => {
                const found = document.activeElement, style = getComputedStyle(found);
                if (found === document.body) return [null, false];
                const named = found.labels && found.labels[0] || found;
                const label = found.ariaLabel || named.innerText;
                const isSeen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
                return [label.trim(), isSeen && found.getBoundingClientRect().height > 0];
            }"""
        )
        return PAGE if name is None else str(name), bool(is_seen)

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_ECHO):
            self.faults.append(f"console on {self.page.url}: {message.text}")

    def _note_failure(self, request: Request) -> None:
        if request.failure != _LEFT:
            self.faults.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _note_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected_statuses:
            self.faults.append(f"{response.status}: {response.request.method} {response.url}")
