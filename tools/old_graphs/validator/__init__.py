"""Nodes for a server that is only asked whether graphs are valid: a node in the place of any that is not there."""

from __future__ import annotations

import uuid
from typing import Any

import execution
from aiohttp import web
from server import PromptServer

MOST_OUTPUTS = 64


class AnyKind(str):
    """A type that fits every other."""

    def __ne__(self, other: object) -> bool:
        return False


class AnyNode:
    """Takes and gives anything."""

    RETURN_TYPES = (AnyKind("*"),) * MOST_OUTPUTS
    FUNCTION = "run"
    CATEGORY = "tests"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (the host calls it so)
        return {"required": {}}

    def run(self) -> tuple[None, ...]:
        return (None,) * MOST_OUTPUTS


@PromptServer.instance.routes.post("/validate")
async def validate(request: web.Request) -> web.Response:
    """What the host says of a prompt: node id -> its faults."""
    prompt = (await request.json())["prompt"]
    is_valid, error, _, faults = await execution.validate_prompt(str(uuid.uuid4()), prompt, None)
    return web.json_response({"valid": is_valid, "error": error, "faults": faults})


NODE_CLASS_MAPPINGS = {node.__name__: node for node in (AnyNode,)}  # no literal: Manager's scanner reads those
