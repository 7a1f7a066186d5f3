"""What the old pack's nodes do when somebody calls them: the node that stands in for one does the work.

Here are only the differences: which of its inputs follow from others, and in which form the old nodes hand things on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...ipadapter.host.adapters.adapter import open_adapter
from ...ipadapter.host.api import io
from ...ipadapter.host.faces.models import open_pack
from ...ipadapter.host.legacy.actions import load_face_adapter
from ...ipadapter.host.legacy.exchange import (
    AdapterWeights,
    adapter_of,
    embeds_of,
    encoded_feature,
    held_feature,
    load_embeds,
    pipeline_of,
    prompt_of_embeds,
    save_embeds,
)
from ...ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from ...ipadapter.legacy.migration.new_nodes import BOOSTED_COMPOSITION, BOOSTED_STYLE
from ...ipadapter.legacy.migration.rules import MIGRATION_RULES, MigrationRule
from ...ipadapter.prompts.prompt import Feature, ImagePrompt
from ..reference import ImagePromptNoise, PrepareReferenceImage
from . import LEGACY_NODES

Given = dict[str, Any]  # inputs by their old names
Made = tuple[Any, ...]
Run = Callable[[MigrationRule, Given], Made]

STAND_INS: dict[str, type[io.ComfyNode]] = {
    node.__name__: node for node in (*LEGACY_NODES, ImagePromptNoise, PrepareReferenceImage)
}
READ_KINDS: dict[str, Callable[[Any], Any]] = {"IPADAPTER": adapter_of, "EMBEDS": prompt_of_embeds}
READ = {
    socket.name: READ_KINDS[socket.kind]
    for form in LEGACY_FORMS.values()
    for socket in form.sockets
    if socket.kind in READ_KINDS
}
STYLE_AND_COMPOSITION, BY_PARAMS = MIGRATION_RULES["IPAdapterStyleComposition"], MIGRATION_RULES["IPAdapterFromParams"]
FACE_LIMITS = (-1.0, 5.0)  # of weight_faceidv2
# Of the old pack's first version, which others still send: the second takes them for linear.
FIRST_TYPES = {"original": "linear", "channel penalty": "linear"}
WIDTH_OF_KERNEL = 0.15  # of a blur's standard deviation a pixel of its kernel; 0.35 besides


def by_rule(rule: MigrationRule, given: Given) -> Made:
    """What the node gives that stands in."""
    names = {old: rule.renamed.get(old, old) for old in given if old not in rule.dropped}
    carried = {new: read_socket(old, given[old]) for old, new in names.items() if new in rule.new_form.inputs}
    made: Made = STAND_INS[rule.new].execute(**{**rule.filled, **carried, **rule.fixed}).args
    return made


def read_socket(name: str, value: Any) -> Any:
    """An old node's input as the nodes here have it."""
    return READ[name](value) if name in READ and value is not None else value


def apply_references(rule: MigrationRule, given: Given) -> Made:
    """A model that follows references, and their faces where faces are read. What is given says what is meant."""
    adapter = adapter_of(given["ipadapter"])
    given = given | {"ipadapter": adapter}
    if given.get("ipadapter_params") is not None:
        return by_rule(BY_PARAMS, given)[0], None
    if given.get("image_style") is not None:
        other = given["image_style"] if given["image_composition"] is None else given["image_composition"]
        both = replace(STYLE_AND_COMPOSITION, fixed=order_of(rule))
        return by_rule(both, given | {"image_composition": other})[0], None
    model, pictures = by_rule(rule, given | weighed(given))
    return model, pictures if adapter.spec.reads_face else None


def order_of(rule: MigrationRule) -> Mapping[str, Any]:
    """Whether a node goes through its pictures one by one."""
    return {name: value for name, value in rule.fixed.items() if name == "order"}


def weighed(given: Given) -> Given:
    """Choices that follow from others: a boost says the weight type, and FaceID Plus follows the weight."""
    boosts = {"style_boost": BOOSTED_STYLE, "composition_boost": BOOSTED_COMPOSITION}
    boosted = [kind for name, kind in boosts.items() if given.get(name) is not None]
    kind = FIRST_TYPES.get(given["weight_type"], given["weight_type"])
    face = given.get("weight_faceidv2")
    return {
        "weight_type": boosted[-1] if boosted else kind,
        "weight_faceidv2": beside(given["weight"]) if face is None else float(face),
    }


def beside(weight: float | Sequence[float]) -> float:
    """What weight_faceidv2 is where nobody says it."""
    low, high = FACE_LIMITS
    first = weight[0] if isinstance(weight, Sequence) and weight else weight
    return min(max(2.0 * first, low), high) if isinstance(first, (int, float)) else 1.0


def apply_embeds(rule: MigrationRule, given: Given) -> Made:
    """A model that follows embeds, and no faces."""
    return (*by_rule(rule, given), None)


def load_models(rule: MigrationRule, given: Given) -> Made:
    """A model, with the LoRA that belongs to an adapter, and the adapter with all it needs."""
    found = load_face_adapter(given["model"], given["preset"], given["lora_strength"], given["provider"])
    return found.model, pipeline_of(found.adapter, given["provider"])


def load_weights(rule: MigrationRule, given: Given) -> Made:
    """An adapter alone."""
    return (AdapterWeights(open_adapter(given["ipadapter_file"])),)


def load_faces(rule: MigrationRule, given: Given) -> Made:
    """What faces are read with."""
    return (open_pack(given["model_name"], given["provider"]),)


def encode_embeds(rule: MigrationRule, given: Given) -> Made:
    """What the adapter reads of the references, and as much of no image."""
    adapter = adapter_of(given["ipadapter"])
    feature = encoded_feature(adapter.spec)
    made = by_rule(rule, given | {"ipadapter": adapter})
    positive, negative = (embeds_of(prompt.parts[0].positive, feature) for prompt in made)
    return positive, negative if feature is Feature.PENULTIMATE else negative.expand_as(positive).clone()


def join_embeds(rule: MigrationRule, given: Given) -> Made:
    """Several embeds as one."""
    prompts: tuple[ImagePrompt, ...] = by_rule(rule, given)
    features = prompts[0].parts[0].positive
    return (embeds_of(features, held_feature(features)),)


def draw_noise(rule: MigrationRule, given: Given) -> Made:
    """Noise. The old blur is the width of a kernel."""
    deviation = WIDTH_OF_KERNEL * (given["blur"] | 1) + 0.35 if given["blur"] else 0.0
    return by_rule(rule, given | {"blur": deviation})


def cut_square(rule: MigrationRule, given: Given) -> Made:
    """A reference as a square."""
    return by_rule(rule, given)[:1]


def write_embeds(rule: MigrationRule, given: Given) -> Made:
    """Nothing, after a file was written."""
    save_embeds(given["embeds"], given["filename_prefix"])
    return ()


def read_embeds(rule: MigrationRule, given: Given) -> Made:
    """Embeds from a file."""
    return (load_embeds(given["embeds"]),)


# By the method's name; IPAdapterEmbeds shares one with those that take images
RUNS: dict[str, Run] = {
    "apply_ipadapter": apply_references,
    "load_models": load_models,
    "load_ipadapter_model": load_weights,
    "load_insightface": load_faces,
    "encode": encode_embeds,
    "batch": join_embeds,
    "make_noise": draw_noise,
    "prep_image": cut_square,
    "save": write_embeds,
    "load": read_embeds,
}
RUNS_OF_NODE: dict[str, Run] = dict.fromkeys(("IPAdapterEmbeds", "IPAdapterEmbedsBatch"), apply_embeds)


def run_of(node: str, method: str) -> Run:
    """What a node does."""
    return RUNS_OF_NODE.get(node) or RUNS.get(method, by_rule)
