"""`make screenshot`: docs/images/graph.png, the first workflow in ComfyUI's real front end.

The graph is shown as it opens, with the photo as reference. The box for the result is drawn small: stand-in models make
noise, and a picture of noise says nothing.
"""

from __future__ import annotations

import json
import shutil
import sys

from playwright.sync_api import Browser, FloatRect, Page

from tools.browser import BrowserError, chromium, open_front_end, open_workflow, write_user_settings
from tools.chosen import PHOTO
from tools.environment import LAYOUT
from tools.server import Server, ServerError, Settings, running
from tools.standins.listed import SETS
from tools.standins.make import make
from tools.workflows.titles import graph_file

PICTURE = LAYOUT.root / "docs" / "images" / "graph.png"
DIRECTORY = LAYOUT.runs / "screenshot"
LARGEST = 400_000  # bytes

SCALE = 0.9  # of the canvas
MARGIN = 24.0  # pixels around the graph
MENU = 60.0  # pixels above it that the front end's menu has

USER_SETTINGS = {
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # text at any zoom
}
FOCUS = "window.app.extensionManager.command.execute('Workspace.ToggleFocusMode')"
SHRINK_RESULT = """() => {
    const graph = window.app.graph
    const node = graph.nodes.find(node => node.type === 'SaveImage')
    const group = graph.groups.find(group => group.title === 'Result')
    node.size = [node.size[0], node.computeSize()[1]]
    group.size = [group.size[0], node.pos[1] - group.pos[1] + node.size[1] + 20]
}"""
# Puts the groups' upper left corner at the given place of the screen; how large all of them are there.
FRAME = """([left, top, scale]) => {
    const boxes = window.app.graph.groups.map(group => [...group.pos, ...group.size])
    const [x, y] = [0, 1].map(axis => Math.min(...boxes.map(box => box[axis])))
    const [right, bottom] = [0, 1].map(axis => Math.max(...boxes.map(box => box[axis] + box[axis + 2])))
    const view = window.app.canvas.ds
    view.scale = scale
    view.offset[0] = left / scale - x
    view.offset[1] = top / scale - y
    window.app.canvas.setDirty(true, true)
    return [(right - x) * scale, (bottom - y) * scale]
}"""
PICTURES_SHOWN = """() => window.app.graph.nodes.filter(node => node.type === 'LoadImage')
    .every(node => node.imgs?.[0]?.naturalWidth)"""


class ScreenshotError(Exception):
    """The picture cannot be used; the message says why."""


def photograph(browser: Browser, server: Server) -> bytes:
    """The graph as a PNG."""
    page = open_front_end(browser, server.url, {"width": 2600, "height": 1300})
    open_workflow(page, json.loads(graph_file("image_prompt").read_text(encoding="utf-8")))
    page.wait_for_function(PICTURES_SHOWN)
    page.evaluate(FOCUS)
    page.evaluate(SHRINK_RESULT)
    clip = frame(page)
    page.wait_for_timeout(1500)  # the canvas is drawn when the browser finds time
    return page.screenshot(clip=clip)


def frame(page: Page) -> FloatRect:
    """Bring the groups into view; where on the screen they are then, with a margin."""
    width, height = page.evaluate(FRAME, [MARGIN, MENU + MARGIN, SCALE])
    return {"x": 0, "y": MENU, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN}


def take() -> bytes:
    """Start a server with stand-in models and the photo, and take the picture."""
    for _ in make(SETS["sd15"], LAYOUT.models, LAYOUT.host):
        pass
    settings = Settings(DIRECTORY)
    write_user_settings(settings, USER_SETTINGS)
    with chromium() as browser, running(settings) as server:
        shutil.copy(PHOTO, server.input / "example.png")
        return photograph(browser, server)


def main() -> int:
    try:
        picture = take()
        if len(picture) > LARGEST:
            raise ScreenshotError(f"The picture has {len(picture)} bytes, and {LARGEST} are allowed: lower SCALE.")
    except (BrowserError, ServerError, ScreenshotError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(picture)
    print(f"wrote {PICTURE.relative_to(LAYOUT.root)} ({len(picture) / 1000:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
