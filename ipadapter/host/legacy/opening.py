"""Old graphs that the front end opens, put right before it draws them: it asks, and the answer is a graph."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from ...legacy.migration.api_format import is_prompt
from ...legacy.migration.forms import Form
from ...legacy.migration.opening import OpenedGraph, open_old, open_old_prompt
from ...legacy.migration.ui_format import is_workflow
from ..running import running_server
from .replacing import can_replace, is_installed

OPENED = "image_prompt_adapter/opened"


def register_opening() -> None:
    """Answer on the running server; without one there is nobody to ask."""
    server = running_server()
    if server is not None:
        server.routes.post(f"/{OPENED}")(answer_opened)


async def answer_opened(request: Any) -> Any:
    """What becomes of a graph; an empty answer for what stays as it is, or is not as ComfyUI writes it."""
    from aiohttp import web

    return web.json_response(put_right(await request.json()))


def put_right(graph: Any) -> dict[str, Any]:
    """The same in this process."""
    try:
        made = open_graph(graph)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return {}
    return asdict(made) if made and (made.title or made.others) else {}


def open_graph(graph: Any) -> OpenedGraph | None:
    """A workflow or a prompt put right, and None for anything else."""
    if is_workflow(graph):
        return open_old(graph, can_replace, has_form)
    return open_old_prompt(graph, can_replace, has_form) if is_prompt(graph) else None


def has_form(form: Form) -> bool:
    """Whether the host has a node of this form."""
    return is_installed(form, sys.modules["nodes"].NODE_CLASS_MAPPINGS)
