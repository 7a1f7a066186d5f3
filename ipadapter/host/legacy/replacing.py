"""Old nodes in graphs that reach a server.

The front end is told by the host's node replacements. It carries over only inputs that are mapped, and leaves out those
that are not linked. The host's own replacement in a prompt sent to the API raises KeyError for a mapped input that is
absent, as every optional input without a link is, for a node without `_meta`, and for a link between two old nodes that
is not carried over or ends in an input of another name. So a prompt is put right before the host sees it, by the
handler that it offers for that; where the old pack is installed, its nodes are left alone, unless they hang together
with a node that is not, as those of its first version.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ...legacy.migration.api_format import is_prompt
from ...legacy.migration.first_nodes import LAKSJDJF_IPADAPTER
from ...legacy.migration.forms import Form
from ...legacy.migration.opening import open_old_prompt
from ...legacy.migration.rules import MIGRATION_RULES, MigrationRule
from ..api import ComfyAPI, io
from ..running import running_server


def replacements() -> list[io.NodeReplace]:
    """What the host and its front end are told."""
    return [replacement(rule) for rule in MIGRATION_RULES.values()]


def replacement(rule: MigrationRule) -> io.NodeReplace:
    """One rule in the host's form: every input that is carried over, then what the new node has besides."""
    carried = [{"new_id": new, "old_id": old} for old, new in rule.inputs.items()]
    filled = [{"new_id": new, "set_value": value} for new, value in rule.filled.items()]
    return io.NodeReplace(
        new_node_id=rule.new,
        old_node_id=rule.legacy,
        old_widget_ids=[name or "" for name in rule.legacy_form.widget_slots],
        input_mapping=[*carried, *filled],
        output_mapping=[{"new_idx": index, "old_idx": index} for index, _ in enumerate(rule.legacy_form.outputs)],
    )


async def register_replacements() -> None:
    """Tell the running server; without one there is nobody to tell."""
    server = running_server()
    if server is None:
        return
    api = ComfyAPI()
    for one in replacements():
        await api.node_replacement.register(one)
    server.add_on_prompt_handler(replace_in_request)


def replace_in_request(request: dict[str, Any]) -> dict[str, Any]:
    """A request to run a graph, its old nodes replaced, and called by their makers those of others that these ids'
    nodes would be called with."""
    prompt = request.get("prompt")
    if not isinstance(prompt, dict) or not is_prompt(prompt):
        return request
    opened = open_old_prompt(prompt, can_replace, is_there)
    return {**request, "prompt": opened.graph} if opened.title or opened.others else request


def is_there(form: Form) -> bool:
    """Whether the host has a node of this form. It is taken to have one that nobody knows, whose inputs it then names
    as it refuses them."""
    return form is not LAKSJDJF_IPADAPTER or is_installed(form, sys.modules["nodes"].NODE_CLASS_MAPPINGS)


def can_replace(rules: Sequence[MigrationRule]) -> bool:
    """Whether nodes that hang together can move and must: all new ones are installed, and not all old ones are."""
    installed = sys.modules["nodes"].NODE_CLASS_MAPPINGS
    is_whole = all(rule.new in installed for rule in rules)
    return is_whole and not all(is_installed(rule.legacy_form, installed) for rule in rules)


def is_installed(form: Form, installed: Mapping[str, Any]) -> bool:
    """Whether a node of this form is: some ids have had another one, here or in another pack."""
    if form.id not in installed or not form.required:
        return form.id in installed
    given = installed[form.id].INPUT_TYPES()
    return form.required <= {name for inputs in given.values() for name in inputs}
