"""Graphs at random: any node of the pack, with anything that fits its inputs, shown to its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

Json = dict[str, Any]
Link = list[str | int]

PACK = "image-prompt-adapter"
OF_THE_LAB = ("LoadLabModel", "LoadLabControlNet")
OF_THE_HOST = (
    *("CLIPTextEncode", "ConditioningCombine", "ConditioningSetAreaPercentage", "ConditioningSetMask"),
    *("ConditioningSetTimestepRange", "ControlNetApplyAdvanced", "EmptyLatentImage", "FreeU_V2", "ImageBatch"),
    *("ImageScale", "ImageToMask", "KSampler", "LatentBatch", "LoadImage", "MaskToImage", "PreviewAny", "PreviewImage"),
    *("RepeatImageBatch", "RescaleCFG", "SetLatentNoiseMask", "SolidMask", "VAEDecode", "VAEEncode"),
)
ANY = "*"
GROWING = "COMFY_AUTOGROW_V3"

# What keeps a run short, by the input's name; all else is anywhere between its least and its most.
SHORT: Mapping[str, tuple[int, int]] = {
    **{name: (1, 3) for name in ("steps", "frames", "grad_accumulation", "enhance_tiles")},
    **{name: (0, 3) for name in ("columns", "add_starting_frames", "add_ending_frames")},
    **{name: (64, 64) for name in ("width", "height")},
    "detail": (1, 2),
    "face": (0, 0),
    "size": (8, 96),
}
# What mostly fits, by the input's name or, before that, its class and name.
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "sampler_name": ("euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc", "ddim", "lcm"),
    "upscale_method": ("area", "bilinear"),
    "provider": ("auto", "CPU"),
    "weights": ("", "", "1"),
    "ImagePromptFrames.weights": ("1", "1, 0.5"),
    "ImagePromptLayers.weights": ("", "all: 1, middle: 0", "output 1: 0.5"),
    "ip_adapter_name": ("ip-adapter-lab.safetensors",) * 4 + ("ip-adapter-plus-lab.safetensors",) * 2,
    "clip_name": ("lab-clip.safetensors",),
    "LoadSigLIPVision.clip_name": ("sigclip_vision_patch14_384.safetensors",),
    "architecture": ("auto",),
    "value": (1.0, 0.5),
    **dict.fromkeys(("start_step", "ImagePromptAttention.prompt"), (0,)),
    "end_step": (10000,),
    **dict.fromkeys(
        ("layers", "weight_type", "preset"), ("linear", "ease in", "ease out", "weak input", "strong middle")
    ),
    "FindIPAdapter.preset": ("FACEID", "FACEID", "STANDARD (medium strength)"),  # whose encoder is a published one
    "LegacyIPAdapterFaceIDLoader.preset": ("FACEID", "FACEID", "FACEID PLUS V2"),
    "ImagePromptAttention.layers": ("all", "middle"),
    "layer_weights": ("", "0:1, 1:0.5"),
    "keyframes": ("0: 1, 1: 0", "0%: 1, 50%: 0.2, 100%: 0"),
    "text": ("a red circle", "", "a blue square by night"),
    "captions": ("", "a red circle"),
    "LegacyIPAdapterPromptSchedule.prompt": ("a red circle\na blue square", ""),
    "start_at": (0.0, 0.0, 0.3),
    "end_at": (1.0, 1.0, 0.7),
    "cell_size": (0, 64, 96),
    **dict.fromkeys(("amount", "batch_size"), (1, 1, 1, 2)),
    "tokens": (0, 0, 4),
    "drop_text": (0.05, 0.3),
    "drop_image": (0.05, 0.3),
    "drop_both": (0.05, 0.3),
}
# What mostly takes an output, where there is more to see behind it than behind what is nearest.
TAKERS: Mapping[str, tuple[str, str]] = {
    "MODEL": ("KSampler", "model"),
    "CONDITIONING": ("KSampler", "positive"),
    "IMAGE_PROMPT": ("ApplyIPAdapter", "image_prompt"),
    "IP_ADAPTER": ("ApplyIPAdapter", "ip_adapter"),
    "IMAGE_PROMPT_STRENGTH": ("ApplyIPAdapter", "strength"),
}
# What mostly is linked to an input: the first of these that is in the graph, else the last.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "RecordImagePromptAttention.model": ("ApplyIPAdapter",),
    "KSampler.model": ("RecordImagePromptAttention", "LoadLabModel"),
    **dict.fromkeys(("EncodeFacePrompt.image", "DrawFaceKeyPoints.image", "references", "generated"), ("LoadImage",)),
    "TrainIPAdapter.model": ("LoadLabModel",),
    "TrainIPAdapter.images": ("LoadImage",),
    "TrainIPAdapter.latents": ("EmptyLatentImage",),
    **dict.fromkeys(("TrainIPAdapter.positive", "TrainIPAdapter.negative"), ("CLIPTextEncode",)),
    "image_prompt": ("EncodeImagePrompt",),
    "ip_adapter": ("LoadIPAdapter",),
    "ipadapter": ("LoadIPAdapter",),
    "mask": ("SolidMask",),
    "attn_mask": ("SolidMask",),
}
# What is no source of anything else: outputs that nothing is known of before they are made, that may be nothing or that
# no adapter there reads.
NO_SOURCES = (
    *("FindIPAdapter", "LegacyIPAdapterFaceIDLoader", "LegacyIPAdapterStyleComposition", "LegacyIPAdapterWeights"),
    *("JoinImageEncoders", "LoadSigLIPVision", "RecordImagePromptAttention"),
)
FACE_ADAPTERS = ("lab-faceid.safetensors", "lab-faceid-plusv2.safetensors")
SOLE_KINDS = ("IMAGE_PROMPT_RECORD", "WEIGHTS_STRATEGY", "FLOAT", "INT")  # but of these
OFTEN: Mapping[str, float] = {
    **dict.fromkeys(("clip_vision", "insightface", "positive", "negative", "LegacyIPAdapterWeights.image"), 0.98),
    "EncodeFacePrompt.clip_vision": 0.5,
    "dino": 0.02,
}
MOSTLY = 0.8
FILLED = 0.25  # how often an optional input is given something
REUSED = 0.75  # how often an input takes what is there already
DEFAULTS = 0.8  # how often a value stays the default
WRONG = 0.02  # how often a person types what cannot be read
FAR = 99  # more nodes than there are
DEEPEST = 4  # from where on inputs take the nearest that fits


@dataclass(frozen=True)
class Input:
    """One input of a class."""

    of: str
    name: str
    kind: str
    options: Json
    is_required: bool

    @property
    def is_value(self) -> bool:
        """Whether it is written into the node."""
        return self.kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO") and not self.options.get("forceInput")


@dataclass(frozen=True)
class NodeClass:
    """One class as the server describes it."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    is_output: bool
    is_ours: bool

    @property
    def sockets(self) -> tuple[Input, ...]:
        return tuple(one for one in self.inputs if not one.is_value)


@dataclass(frozen=True)
class Catalogue:
    """What graphs are made of; of each kind of output, how few nodes can be before it, and behind it to a shown one."""

    classes: Mapping[str, NodeClass]
    high: Mapping[str, int]
    far: Mapping[str, int]

    @property
    def ours(self) -> list[str]:
        return sorted(name for name, node in self.classes.items() if node.is_ours)

    def slots(self, name: str, kind: str) -> list[int]:
        """Where a class has such an output."""
        return [slot for slot, made in enumerate(self.classes[name].outputs) if kind in (made, ANY)]

    def makers(self, kind: str) -> list[str]:
        """Classes to take such an output from."""
        usable = (name for name in self.classes if name not in NO_SOURCES or kind in SOLE_KINDS)
        return [name for name in usable if self.slots(name, kind)]

    def least(self, kind: str) -> list[str]:
        """Of the makers, those that have fewest nodes before them, one behind another."""
        makers = self.makers(kind)
        fewest = min(height(self.classes[name], self.high) for name in makers)
        return [name for name in makers if height(self.classes[name], self.high) == fewest]

    def takers(self, kind: str) -> list[tuple[str, str]]:
        """Inputs for an output, of classes that are nearer to something that is shown; any can be previewed."""
        inputs = ((node, one.name) for node in self.classes.values() for one in node.sockets if one.kind == kind)
        near = [(node.name, name) for node, name in inputs if distance(node, self.far) < self.far.get(kind, FAR)]
        return near or [("PreviewAny", "source")]


def read_catalogue(described: Mapping[str, Json]) -> Catalogue:
    """All classes of ours and some of the host's, without those that have nothing to choose or to be linked to."""
    chosen = {name: node for name, node in described.items() if name in (*OF_THE_LAB, *OF_THE_HOST) or is_ours(node)}
    classes = {name: read_class(name, node) for name, node in chosen.items()}
    while unusable := [name for name, node in classes.items() if not can_be_filled(node, classes.values())]:
        classes = {name: node for name, node in classes.items() if name not in unusable}
    kept = {name: without_idle(node, classes.values()) for name, node in classes.items()}
    return Catalogue(kept, measure_heights(kept), measure_distances(kept))


def can_be_filled(node: NodeClass, classes: Collection[NodeClass]) -> bool:
    """Whether there is something for every input that has to have it."""
    return all(can_be_given(one, classes) for one in node.inputs if one.is_required)


def can_be_given(one: Input, classes: Collection[NodeClass]) -> bool:
    if one.is_value:
        return one.kind != "COMBO" or bool(one.options.get("options"))
    return one.kind == ANY or any(one.kind in node.outputs for node in classes)


def without_idle(node: NodeClass, classes: Collection[NodeClass]) -> NodeClass:
    """Without the optional inputs that nothing fits."""
    return replace(node, inputs=tuple(one for one in node.inputs if can_be_given(one, classes)))


def measure_heights(classes: Mapping[str, NodeClass]) -> dict[str, int]:
    """How many nodes there are before each kind of output, one behind another, at best."""
    high: dict[str, int] = {}
    while lower := {
        kind: height(node, high)
        for node in sorted(classes.values(), key=lambda node: -height(node, high))
        for kind in (*node.outputs, ANY)
        if height(node, high) < high.get(kind, FAR)
    }:
        high |= lower
    return high


def height(node: NodeClass, high: Mapping[str, int]) -> int:
    """How many nodes there are before a class, itself counted."""
    return 1 + max((high.get(one.kind, FAR) for one in node.sockets if one.is_required), default=0)


def measure_distances(classes: Mapping[str, NodeClass]) -> dict[str, int]:
    """How many nodes there are behind each kind of output, at best."""
    far: dict[str, int] = {}
    while nearer := {
        one.kind: distance(node, far) + 1
        for node in sorted(classes.values(), key=lambda node: -distance(node, far))
        for one in node.sockets
        if distance(node, far) + 1 < far.get(one.kind, FAR)
    }:
        far |= nearer
    return far


def distance(node: NodeClass, far: Mapping[str, int]) -> int:
    """How many nodes there are behind a class."""
    return 0 if node.is_output else min((far.get(kind, FAR) for kind in node.outputs), default=FAR)


def is_ours(node: Json) -> bool:
    return str(node["python_module"]).endswith(PACK)


def read_class(name: str, node: Json) -> NodeClass:
    inputs = tuple(found for group in ("required", "optional") for found in read_inputs(name, node, group))
    return NodeClass(name, inputs, tuple(node["output"]), bool(node["output_node"]), is_ours(node))


def read_inputs(of: str, node: Json, group: str) -> Iterator[Input]:
    for name, (kind, *more) in node["input"].get(group, {}).items():
        options = dict(more[0]) if more else {}
        if isinstance(kind, list):
            kind, options = "COMBO", {**options, "options": kind}
        if kind == GROWING:
            yield from grown(of, name, options["template"])
        else:
            yield Input(of, name, kind.split(",")[0], options, group == "required")  # of several types the pack's own


def grown(of: str, name: str, template: Json) -> Iterator[Input]:
    """The inputs of one that grows: those it has to have, and one more."""
    ((kind, *_),) = template["input"]["required"].values()
    least = int(template["min"])
    for number in range(least + 1):
        yield Input(of, f"{name}.{template['prefix']}{number}", kind, {}, number < least)


@dataclass
class Builder:
    """One graph in the making."""

    catalogue: Catalogue
    random: Random
    nodes: dict[str, Json] = field(default_factory=dict)

    def add(self, name: str, links: Mapping[str, Link] | None = None, depth: int = 0) -> str:
        """A node with everything it needs; its id."""
        inputs: Json = dict(links or {})
        inputs |= BESIDES.get(name, nothing_more)(self, inputs)
        for one in self.catalogue.classes[name].inputs:
            if one.name not in inputs and (one.is_required or self.fills(one, depth)):
                inputs |= {one.name: self.value(one) if one.is_value else self.source(one, depth + 1)}
        return self.put(name, inputs)

    def put(self, name: str, inputs: Json) -> str:
        key = str(len(self.nodes) + 1)
        self.nodes[key] = {"class_type": name, "inputs": inputs, "_meta": {"title": name}}
        return key

    def recorded(self, links: Mapping[str, Link]) -> dict[str, Link]:
        """A record, and a picture that was drawn with its model: before that it is empty."""
        record = links.get("record") or [self.add("RecordImagePromptAttention", depth=2), 1]
        latent = self.add("KSampler", {"model": [record[0], 0]}, depth=2)
        return {"record": record, "image": [self.add("VAEDecode", {"samples": [latent, 0]}, depth=2), 0]}

    def with_faces(self, links: Mapping[str, Link]) -> dict[str, Link]:
        """An adapter that has a face's settings."""
        name = self.random.choice(FACE_ADAPTERS)
        return {"ip_adapter": [self.put("LoadIPAdapter", {"ip_adapter_name": name}), 0]}

    def fills(self, one: Input, depth: int) -> bool:
        """Whether an optional input is given something."""
        often = found(OFTEN, one, FILLED if depth < DEEPEST else 0.0)
        return self.random.random() < often

    def value(self, one: Input) -> Any:
        """Anything that may be written there, often the default."""
        if one.kind == "STRING" and self.random.random() < WRONG:
            return "1, nan, x"
        if one.kind != "COMBO" and (usual := found(CHOICES, one, ())):
            return self.random.choice(usual)
        chosen_here = one.name in SHORT or f"{one.of}.{one.name}" in CHOICES
        if "default" in one.options and not chosen_here and self.random.random() < DEFAULTS:
            return one.options["default"]
        return VALUES[one.kind](one, self.random)

    def source(self, one: Input, depth: int) -> Link:
        """An output that fits an input: of a node that is there, or of another."""
        usual = self.usual_source(one) if self.random.random() < MOSTLY else None
        there = [
            [key, slot]
            for key, node in self.nodes.items()
            for slot in self.slots(node, one.kind)
            if usual in (None, node["class_type"])
        ]
        if there and (depth >= DEEPEST or self.random.random() < REUSED):
            return self.random.choice(there)
        makers = self.catalogue.least(one.kind) if depth >= DEEPEST else self.catalogue.makers(one.kind)
        key = self.add(usual or self.random.choice(makers), depth=depth)
        return [key, self.random.choice(self.slots(self.nodes[key], one.kind))]

    def usual_source(self, one: Input) -> str | None:
        known = found(SOURCES, one, ())
        here = {node["class_type"] for node in self.nodes.values()}
        return next((name for name in known if name in here), known[-1] if known else None)

    def slots(self, node: Json, kind: str) -> list[int]:
        return self.catalogue.slots(node["class_type"], kind)

    def show(self, key: str) -> None:
        """Take every output of a node to where it can be seen."""
        for slot, kind in enumerate(self.made(key).outputs):
            self.go_on(self.take([key, slot], kind))

    def go_on(self, key: str) -> None:
        """Take the output of a node that is nearest to being seen there."""
        node = self.made(key)
        if not node.is_output:
            slot = min(range(len(node.outputs)), key=lambda slot: self.catalogue.far.get(node.outputs[slot], FAR))
            self.go_on(self.take([key, slot], node.outputs[slot]))

    def made(self, key: str) -> NodeClass:
        return self.catalogue.classes[self.nodes[key]["class_type"]]

    def take(self, link: Link, kind: str) -> str:
        """A node that takes an output, and brings it nearer to one that is seen."""
        usual = TAKERS.get(kind)
        chosen = usual if usual and self.random.random() < MOSTLY else self.random.choice(self.catalogue.takers(kind))
        name, one = chosen
        return self.add(name, {one: link}, depth=2)


def nothing_more(builder: Builder, links: Mapping[str, Link]) -> dict[str, Link]:
    return {}


# Links that belong together.
BESIDES: Mapping[str, Callable[[Builder, Mapping[str, Link]], dict[str, Link]]] = {
    "ImagePromptAttention": Builder.recorded,
    "FaceIDSettings": Builder.with_faces,
}


def found(table: Mapping[str, Any], one: Input, otherwise: Any) -> Any:
    """What a table has for an input, by its class and name or by its name."""
    return table.get(f"{one.of}.{one.name}", table.get(one.name, otherwise))


def whole(one: Input, random: Random) -> int:
    least, most = SHORT.get(one.name, (one.options.get("min", 0), one.options.get("max", 100)))
    return random.randint(int(least), int(most))


def fraction(one: Input, random: Random) -> float:
    return round(random.uniform(one.options.get("min", 0.0), one.options.get("max", 1.0)), 2)


def typed(one: Input, random: Random) -> str:
    return str(one.options.get("default", ""))


def switched(one: Input, random: Random) -> bool:
    return random.random() < 0.5


def chosen(one: Input, random: Random) -> Any:
    options = one.options["options"]
    usual = [option for option in found(CHOICES, one, options) if option in options]
    return random.choice(usual if usual and random.random() > WRONG else options)


VALUES: Mapping[str, Callable[[Input, Random], Any]] = {
    "INT": whole,
    "FLOAT": fraction,
    "STRING": typed,
    "BOOLEAN": switched,
    "COMBO": chosen,
}


def make_graph(catalogue: Catalogue, name: str, random: Random) -> dict[str, Json]:
    """A graph around a node of a class, in the API's format."""
    builder = Builder(catalogue, random)
    builder.show(builder.add(name))
    return builder.nodes
