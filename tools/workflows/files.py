"""The files of each workflow, and what they should hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.environment import LAYOUT

from .blueprint import BLUEPRINT, blueprint, classes
from .formats import to_prompt, to_ui
from .graph import Workflow
from .schema import WorkflowError, read_schemas
from .thumbnails import IDEAS, draw_thumbnail, to_jpeg
from .titles import graph_file, thumbnail_file

PROMPTS = LAYOUT.root / "tests" / "prompts"
VERSION = re.compile(r'^version = "([^"]+)"$', re.MULTILINE)


def pack_version() -> str:
    found = VERSION.search((LAYOUT.root / "pyproject.toml").read_text(encoding="utf-8"))
    if not found:
        raise WorkflowError("pyproject.toml names no version.")
    return found[1]


def to_text(content: Mapping[str, Any]) -> str:
    """As the front end formats a file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def texts(workflows: Iterable[Workflow], object_info: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every JSON file of these workflows with its content. Raise WorkflowError for one that cannot be written."""
    version = pack_version()
    for workflow in workflows:
        schemas = read_schemas(object_info, {node.class_type for node in workflow.nodes})
        yield graph_file(workflow.name), to_text(to_ui(workflow, schemas, version))
        yield PROMPTS / f"{workflow.name}.json", to_text(to_prompt(workflow, schemas))


def blueprint_text(object_info: Mapping[str, Any]) -> tuple[Path, str]:
    """The blueprint's file with its content."""
    return BLUEPRINT, to_text(blueprint(read_schemas(object_info, classes()), pack_version()))


def thumbnails(workflows: Iterable[Workflow]) -> Iterator[tuple[Path, bytes]]:
    """Every thumbnail of these workflows."""
    for workflow in workflows:
        yield thumbnail_file(workflow.name), to_jpeg(draw_thumbnail(IDEAS[workflow.name]()))
