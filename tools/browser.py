"""ComfyUI's real front end in Chromium.

    with chromium() as browser:
        page = open_front_end(browser, server.url)
        open_workflow(page, workflow)

The Chromium is the machine's own: Playwright's download is not used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tools.server import Settings

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 120_000.0  # milliseconds; the front end is large, and a busy machine slow
SCREEN: ViewportSize = {"width": 1600, "height": 900}
# The last thing the front end does as it starts is to open the graph of last time.
READY = "() => window.app?.vueAppReady && window.app.extensionManager.workflow.activeWorkflow?.isLoaded"

# What a person has behind them who has used ComfyUI before: no tour, no list of templates at the start.
EXPERIENCED = {"Comfy.TutorialCompleted": True}


class BrowserError(Exception):
    """There is no browser to drive; the message says what to install."""


def find_chromium() -> str:
    """The path of a Chromium or Chrome on this machine. Raises BrowserError where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserError(
            f"No Chromium is on the PATH (looked for {', '.join(NAMES)}): install one, on Debian and Ubuntu with "
            "`apt install chromium`."
        )
    return found


def write_user_settings(settings: Settings, more: Mapping[str, Any] | None = None) -> None:
    """Leave the user's front-end settings where the server will look for them; before it starts."""
    file = settings.directory / "user" / "default" / "comfy.settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**EXPERIENCED, **(more or {})}), encoding="utf-8")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser, closed in every case. Raises BrowserError."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


def open_front_end(browser: Browser, url: str, screen: ViewportSize = SCREEN) -> Page:
    """A page with the front end up and its node definitions read."""
    page = browser.new_page(viewport=screen)
    page.set_default_timeout(PATIENCE)
    start(page, url)
    return page


def start(page: Page, url: str) -> None:
    """Load the front end, and wait until it can take a graph."""
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_function(READY)


def open_workflow(page: Page, workflow: Mapping[str, Any]) -> None:
    """Load a graph in the front end's own format, as opening its file does."""
    page.evaluate("async workflow => { await window.app.loadGraphData(workflow) }", workflow)
