"""What draws: one graph of the user's, or every method of the comparison that a server has the files of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ...errors import IPAdapterError
from ...server.client import Json
from .graph import DrawingRecipe, Template, make_template
from .methods import METHODS, ComparedMethod, FileNeed

ALL_METHODS = "all"


@dataclass(frozen=True)
class System:
    """One way to draw. Its name is empty where there is no other."""

    name: str
    template: Template
    prepare: Callable[[Image.Image], Image.Image] | None = None


@dataclass(frozen=True)
class SystemsFound:
    """The systems that draw, and why the other methods do not."""

    systems: Sequence[System]
    left_out: Mapping[str, str]  # a method's name -> why


def chosen_methods(text: str) -> list[ComparedMethod]:
    """Methods by name, separated by commas, or all. Raises IPAdapterError for a name that is none."""
    known = {method.name: method for method in METHODS}
    names = list(known) if text == ALL_METHODS else [name.strip() for name in text.split(",")]
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        raise IPAdapterError(f"--methods has no '{wrong}': choose {ALL_METHODS}, or of {', '.join(known)}.")
    return [method for method in METHODS if method.name in names]


def find_systems(methods: Sequence[ComparedMethod], recipe: DrawingRecipe, described: Json) -> SystemsFound:
    """Those methods that a server, by its description of its nodes, has the files of.

    Raises IPAdapterError where it has those of none.
    """
    systems, left_out = [], {}
    for method in methods:
        files = {need.what: find_listed(need, described) for need in method.needs}
        missing = [need for need in method.needs if files[need.what] is None]
        if method.build is None or missing:
            left_out[method.name] = method.cannot or "; ".join(map(what_is_lacking, missing))
            continue
        template = make_template(method.build(recipe, {what: name for what, name in files.items() if name}))
        systems.append(System(method.name, template, method.prepare))
    if not systems:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise IPAdapterError(f"the server can draw none of the methods ({why}).")
    return SystemsFound(systems, left_out)


def what_is_lacking(need: FileNeed) -> str:
    """What a server does not have."""
    return f"no file for {need.loader} whose name has {' or '.join(need.words)}"


def find_listed(need: FileNeed, described: Json) -> str | None:
    """The file a server lists for a need, the shortest name first; None without one."""
    listed = (name for name in options(described.get(need.loader, {}), need.input))
    found = [name for name in listed if any(word in name.lower().replace("\\", "/") for word in need.words)]
    return min(found, key=lambda name: (len(name), name), default=None)


def options(node: Mapping[str, Any], name: str) -> list[str]:
    """What an input of a node lets choose from, in either form in which the host says it."""
    kind, *more = node.get("input", {}).get("required", {}).get(name, [[]])
    choices = kind if isinstance(kind, list) else (more[0] if more else {}).get("options", [])
    return [choice for choice in choices if isinstance(choice, str)]


def refuse_textless(comparison: SystemsFound, text: bool) -> SystemsFound:
    """Leave out, of an evaluation with text prompts, the methods that read none."""
    if not text:
        return comparison
    able = [system for system in comparison.systems if system.template.text is not None]
    why = {system.name: "it reads no text" for system in comparison.systems if system.template.text is None}
    if not able:
        raise IPAdapterError(
            "the workflow has no node in which a sampler's text is written, where the folder has texts."
        )
    return replace(comparison, systems=able, left_out={**comparison.left_out, **why})
