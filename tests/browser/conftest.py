"""One real server and one real browser for all tests of this layer.

FRONT_END names a folder with another front end, as `pip install --no-deps --target FOLDER comfyui-frontend-package`
makes it; otherwise it is the one that ComfyUI asks for.

Both end with this package: as long as Playwright runs, its event loop occupies the thread, and no other can run in it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.graphs import NAMES, EveryWorkflow, Faults, Started, look_at
from tests.comfyui import start_host
from tests.live.training_pictures import put_training_pictures
from tests.warm import warm_python
from tools.browser import (
    PATIENCE,
    SCREEN,
    BrowserError,
    chromium,
    find_chromium,
    open_front_end,
    start,
    write_user_settings,
)
from tools.chosen import PHOTO
from tools.environment import LAYOUT
from tools.server import WITHOUT_OLD_IDS, Server, Settings, running
from tools.standins.listed import SETS
from tools.standins.make import make
from tools.workflows.models import DINOV2, FLUX_CHARACTER, T5_XXL

start_host()

EXAMPLE = "example.png"  # the image that the shipped workflows name


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if sentence := why_not():
        pytest.fail(sentence, pytrace=False)
    with chromium() as browser:
        yield browser


def why_not() -> str:
    """What to install where there is no browser."""
    try:
        find_chromium()
    except BrowserError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def front_end() -> Mapping[str, str]:
    """Environment of a server that has the front end which is asked for."""
    folder = os.environ.get("FRONT_END")
    if not folder:
        return {}
    if not (package := Path(folder, "comfyui_frontend_package").resolve()).is_dir():
        pytest.fail(f"FRONT_END={folder}: there is no {package}.", pytrace=False)
    return {"PYTHONPATH": str(package.parent)}


@pytest.fixture(scope="package")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """What runs servers."""
    with warm_python(tmp_path_factory.mktemp("warm")) as python:
        yield python


@pytest.fixture(scope="package")
def server(
    browser: Browser, python: tuple[str, ...], front_end: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the stand-in models, whose user has seen the tour and has pictures to train on."""
    for _ in make(SETS["all"], LAYOUT.models, LAYOUT.host):
        pass
    listed = tmp_path_factory.mktemp("files") / "empty"  # to be chosen, never opened
    listed.touch()
    files = {f"{file.directory}/{file.name}": listed for file in (T5_XXL, DINOV2, FLUX_CHARACTER)}
    # Nobody answers to the old pack's ids, so that the front end offers to replace its nodes.
    how = {"environment": WITHOUT_OLD_IDS | front_end, "python": python}
    settings = Settings(tmp_path_factory.mktemp("server"), model_files=files, **how)
    write_user_settings(settings)
    with running(settings) as server:
        shutil.copy(PHOTO, server.input / EXAMPLE)
        put_training_pictures(server.input)
        yield server


@pytest.fixture(scope="package")
def started(browser: Browser, server: Server) -> Started:
    """Opened once: it takes seconds."""
    page = browser.new_page(viewport=SCREEN)
    page.set_default_timeout(PATIENCE)
    faults = Faults(page)
    start(page, server.url)
    return Started(page, faults.of_ours)


@pytest.fixture(scope="package")
def page(started: Started) -> Page:
    """The front end."""
    return started.page


@pytest.fixture(scope="package")
def every_workflow(page: Page) -> EveryWorkflow:
    """All of them, opened once."""
    faults = Faults(page)
    return EveryWorkflow({name: look_at(page, name) for name in NAMES}, faults.of_ours)


@pytest.fixture(scope="package")
def chinese(browser: Browser, page: Page, server: Server) -> Iterator[Page]:
    """The front end of a user who has chosen Chinese. It is asked for as it starts: who comes next reads English."""
    choose_language(page, server, "zh")
    theirs = open_front_end(browser, server.url)
    choose_language(page, server, "en")
    yield theirs
    theirs.close()


def choose_language(page: Page, server: Server, language: str) -> None:
    """What the front end keeps on the server where its user chooses, without the start that shows it."""
    assert page.request.post(f"{server.url}/api/settings/Comfy.Locale", data=json.dumps(language)).ok
