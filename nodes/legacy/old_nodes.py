"""The old pack's own nodes, for the programs, packs and graphs that ask for them by id.

Each is made of its row in the table of old nodes and of the method that others call on it. They have the host's first
API, which those who call them read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from ...ipadapter.host.faces.models import pack_fingerprint
from ...ipadapter.host.files import (
    HOST_ADAPTERS,
    HOST_ENCODERS,
    HOST_LORAS,
    file_fingerprint,
    file_names,
    missing_file,
)
from ...ipadapter.host.legacy.exchange import embeds_names
from ...ipadapter.host.library.finding import folders_fingerprint
from ...ipadapter.host.prompts.files import missing_prompt, prompt_fingerprint
from ...ipadapter.legacy.calls import OLD_CALLS, Call
from ...ipadapter.legacy.input_types import InputTypes, input_types
from ...ipadapter.legacy.migration.forms import Form
from ...ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from ...ipadapter.legacy.migration.rules import MIGRATION_RULES
from .old_runs import run_of
from .schema import LEGACY_CATEGORY

FILE_LISTS: Mapping[str, Callable[[], list[str]]] = {  # by widget
    "ipadapter_file": lambda: file_names(HOST_ADAPTERS),
    "embeds": embeds_names,
}
WRITES_FILES = ("IPAdapterSaveEmbeds",)


class OldNode:
    """What all of them have in common for the host."""

    FORM: Form
    CATEGORY = LEGACY_CATEGORY
    DEPRECATED = True
    DESCRIPTION = (
        "A node of ComfyUI_IPAdapter_plus, for graphs, programs and packs that know it by its name. In new graphs use "
        "Encode Image Prompt and Apply IP-Adapter."
    )

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:  # noqa: N802 (the host calls it so)
        """Its inputs, with the files that there are now."""
        menus = FILE_LISTS.keys() & cls.FORM.defaults.keys()
        return input_types(cls.FORM, {name: FILE_LISTS[name]() for name in menus})


def adapter_is_there(ipadapter_file: str | None = None) -> bool | str:
    """True, or the sentence for a file that is not there."""
    return (ipadapter_file is not None and missing_file(HOST_ADAPTERS, ipadapter_file)) or True


def embeds_are_there(embeds: str | None = None) -> bool | str:
    """The same for embeds."""
    return (embeds is not None and missing_prompt(embeds)) or True


def changed_with(fingerprint: Callable[..., str]) -> dict[str, Any]:
    """What the host asks before it takes a result from before."""
    return {"IS_CHANGED": staticmethod(fingerprint)}


FOUND = changed_with(lambda **given: folders_fingerprint(HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS))
ON_FILES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("IPAdapterUnifiedLoader", "IPAdapterUnifiedLoaderFaceID", "IPAdapterUnifiedLoaderCommunity"), FOUND
    ),
    "IPAdapterModelLoader": {
        **changed_with(lambda ipadapter_file=None: file_fingerprint(HOST_ADAPTERS, ipadapter_file)),
        "VALIDATE_INPUTS": staticmethod(adapter_is_there),
    },
    "IPAdapterLoadEmbeds": {
        **changed_with(lambda embeds=None: "" if embeds is None else prompt_fingerprint(embeds)),
        "VALIDATE_INPUTS": staticmethod(embeds_are_there),
    },
    "IPAdapterInsightFaceLoader": changed_with(lambda provider=None, model_name=None: pack_fingerprint(model_name)),
}


def method_of(form: Form, call: Call) -> Callable[..., Any]:
    """The method that the host and other packs call."""
    run, rule = run_of(form.id, call.name), MIGRATION_RULES[form.id]

    def method(self: OldNode, *given: Any, **named: Any) -> tuple[Any, ...]:
        return run(rule, call.bind(given, named))

    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = call.signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *call.signature.parameters.values()]
    )
    return method


def old_node(form: Form) -> type[OldNode]:
    """The class of one row."""
    call = OLD_CALLS[form.id]
    members = {
        "FORM": form,
        "FUNCTION": call.name,
        call.name: method_of(form, call),
        "RETURN_TYPES": tuple(output.kind for output in form.outputs),
        "RETURN_NAMES": tuple(output.name for output in form.outputs),
        "OUTPUT_NODE": form.id in WRITES_FILES,
        **ON_FILES.get(form.id, {}),
    }
    return type(form.id, (OldNode,), members)


def title_of(name: str) -> str:
    """An id in words, as its node was called: a longer title would make nodes of old graphs wider than they were."""
    words = re.sub(r"(?<=[a-zD])(?=[A-Z][a-z])", " ", name)
    return words.replace("Clip Vision", "ClipVision").replace("Insight Face", "InsightFace")


OLD_NODES = {name: old_node(form) for name, form in LEGACY_FORMS.items()}
TITLES_OF_OLD = {name: title_of(name) for name in OLD_NODES}
