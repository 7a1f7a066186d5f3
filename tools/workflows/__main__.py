"""Writes the workflows from the description that a server of this checkout gives of its nodes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any

from ipadapter.server.client import connect
from tools.environment import LAYOUT
from tools.server import Settings, running

from .files import blueprint_text, texts, thumbnails
from .graph import Workflow
from .schema import WorkflowError
from .shipped import SHIPPED


async def ask_for_nodes(url: str) -> Mapping[str, Any]:
    async with connect(url) as client:
        return await client.object_info()


def chosen(names: list[str]) -> tuple[Workflow, ...]:
    known = {workflow.name: workflow for workflow in SHIPPED}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise WorkflowError(f"There is no workflow {', '.join(unknown)}: choose from {', '.join(known)}.")
    return tuple(known[name] for name in names) or SHIPPED


def write(workflows: tuple[Workflow, ...]) -> None:
    with running(Settings(LAYOUT.runs / "workflows")) as server:
        object_info = asyncio.run(ask_for_nodes(server.url))
    found = (*texts(workflows, object_info), blueprint_text(object_info))
    written = [(path, text.encode()) for path, text in found]
    for path, content in (*written, *thumbnails(workflows)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        print(path.relative_to(LAYOUT.root))


def main(names: list[str]) -> int:
    try:
        write(chosen(names))
    except WorkflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
