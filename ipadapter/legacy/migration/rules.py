"""What each old node becomes, input by input, and what will look different.

An input that no rule names keeps its name. A rule fixes what the old node did by itself, drops what is not needed, and
says in a note where a picture changes and which setting comes nearest to the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from .forms import Form, Value
from .legacy_nodes import LEGACY_FORMS
from .new_nodes import BOOSTED_COMPOSITION, BOOSTED_STYLE, FRAME_BY_FRAME, NEW_FORMS

PACK_ID = "image-prompt-adapter"


@dataclass(frozen=True)
class Chosen:
    """What a graph has chosen on an old node: values of widgets, and which inputs have a link."""

    values: Mapping[str, Value]
    links: Collection[str]

    def differs(self, name: str, usual: Value) -> bool:
        """Whether an input is linked or has another value than the usual one."""
        return name in self.links or self.values.get(name, usual) != usual


@dataclass(frozen=True)
class Note:
    """A sentence for whoever opens the graph again, and when it is due."""

    text: str
    due: Callable[[Chosen], bool] = lambda chosen: True


@dataclass(frozen=True)
class MigrationRule:
    """One old node and what stands in for it."""

    legacy: str
    new: str
    renamed: Mapping[str, str] = field(default_factory=dict)  # old input -> new one
    fixed: Mapping[str, Value] = field(default_factory=dict)  # new input -> value
    dropped: Mapping[str, str] = field(default_factory=dict)  # old input -> why
    notes: tuple[Note, ...] = ()
    choices: Mapping[str, Mapping[Value, Value]] = field(default_factory=dict)  # old input -> its values -> new ones
    first_form: Form | None = None  # of a node of the old pack's first version

    @property
    def legacy_form(self) -> Form:
        return self.first_form or LEGACY_FORMS[self.legacy]

    @property
    def new_form(self) -> Form:
        return NEW_FORMS[self.new]

    @property
    def filled(self) -> dict[str, Value]:
        """New inputs that nothing is carried over to, with their values."""
        carried = set(self.inputs.values())
        values = {**self.new_form.defaults, **self.fixed}
        return {name: value for name, value in values.items() if name not in carried}

    @property
    def inputs(self) -> dict[str, str]:
        """Old input -> new one, of all that are carried over."""
        return {name: self.renamed.get(name, name) for name in self.legacy_form.inputs if name not in self.dropped}

    @property
    def lacking(self) -> tuple[str, ...]:
        """New inputs and outputs that the old node had not."""
        carried, kept = self.inputs.values(), len(self.legacy_form.outputs)
        inputs = [name for name in self.new_form.inputs if name not in carried]
        return (*inputs, *(output.name for output in self.new_form.outputs[kept:]))

    def untold(self, links: Collection[str]) -> dict[str, str]:
        """Linked inputs that cannot keep their link, since their values mean something else here; and why."""
        return {
            name: f"its values are called otherwise here, so choose {self.inputs[name]} by hand"
            for name in self.choices
            if name in links
        }

    def translate(self, name: str, value: Value) -> Value:
        """A value of an old widget as the new one has it."""
        if not isinstance(value, (str, int, float)):
            return value
        later = RENAMED_OPTIONS.get(value, value) if isinstance(value, str) else value
        return self.choices.get(name, {}).get(later, later)


RENAMED_OPTIONS = {
    "style transfer (SDXL)": "style transfer",
    "style transfer (SDXL only)": "style transfer",
    "composition (SDXL)": "composition",
    "style transfer and composition": "style and composition",
}
TOUCH_MIDDLE = (
    *("linear", "ease in", "ease out", "ease in-out", "reverse in-out", "weak input", "weak output", "weak middle"),
    *("strong middle", "strong style transfer", "composition precise", "standard", "prompt is more important"),
)
NEUTRAL = Note(
    "neg_embed is what the adapter was trained with in place of an image, where the old pack gave adapters of the Plus "
    "family a black picture."
)
BLACK_PICTURE = Note(
    "Adapters of the Plus family get what they were trained with in place of a negative image, where the old pack "
    "gave them a black picture; connect a black picture to image_negative for the old one.",
    lambda chosen: "image_negative" not in chosen.links,
)
MIDDLE_ACTS = Note(
    "The middle block takes part now, which the old pack left out by mistake, so the image acts a little more; switch "
    "middle_block off for the old picture.",
    lambda chosen: "weight_type" in chosen.links or chosen.values.get("weight_type", "linear") in TOUCH_MIDDLE,
)
ONCE = Note(
    "Runs no longer add up: the old pack changed the model it was given, so that a second run, or a second node on the "
    "same model, acted more strongly. If the picture is too weak now, raise weight."
)
APPLYING = (MIDDLE_ACTS, BLACK_PICTURE, ONCE)
ALWAYS_MIDDLE = Note(MIDDLE_ACTS.text)
EXPANDED_MIDDLE = Note(MIDDLE_ACTS.text, lambda chosen: bool(chosen.values.get("expand_style")))
LARGEST_FACES = Note(
    "The largest face of each reference is read, where the old pack read the first that was found; weight_faceidv2 and "
    "the LoRA act as they did. Without a FaceID adapter the whole reference is shown to the model."
)
PRECISE_BY_LAYER = Note(
    "layer_weights with a precise weight type no longer push the other layers away; use two nodes, one with the "
    "precise type and one with layer_weights.",
    lambda chosen: bool(chosen.values.get("layer_weights")) and "precise" in str(chosen.values.get("weight_type")),
)
IGNORED_TYPE = Note(
    "layer_weights is not empty, so weight_type is not read, as in the old pack.",
    lambda chosen: bool(chosen.values.get("layer_weights")),
)
TILES = Note("Where tiles overlap they share the place, where the old pack showed both in full.")
LORA_INSIDE = Note(
    "The LoRA is the one in the adapter's own file, and no other file is needed; where the adapter has lost it, the "
    "file in models/loras is found."
)
FOUND_BY_CONTENT = Note(
    "Adapter and encoder are found by what is in your files, not by their names; the node says which ones it took."
)
NOISE = Note("The noise is drawn from seed, not from the picture, so it is another noise of the same kind.")
BLUR = Note(
    "blur is a standard deviation in pixels now, where the old one was the width of the kernel: write about a sixth "
    "of the old number.",
    lambda chosen: chosen.differs("blur", 0),
)
INTERPOLATION = Note(
    "Pictures are resized bicubically with antialiasing, whatever interpolation was.",
    lambda chosen: chosen.values.get("interpolation") != "BICUBIC",
)
LOAD_EMBEDS = Note(
    "Files ending in .ipadpt do not say which encoder made them. Adapters of the Plus family need to know it: connect "
    "its Load CLIP Vision to clip_vision, here or where the embeds are applied, or encode the pictures again. Files of "
    "the old pack's first version are not read: encode their pictures again."
)
SAVE_EMBEDS = Note("The file is written as safetensors and says which encoder made it.")
RANDOM = Note(
    "The weights of timing random are the same in every run, where the old pack drew them anew.",
    lambda chosen: chosen.values.get("timing") == "random",
)

WITHOUT_CHUNK = {"encode_batch_size": "pictures are always encoded a few at a time"}
WITHOUT_CHAIN = {"ipadapter": "loaders need no chain, since every file is loaded once"}
BY_FRAME = {"order": FRAME_BY_FRAME}
PRECISE_STYLE, PRECISE_COMPOSITION = {"weight_type": BOOSTED_STYLE}, {"weight_type": BOOSTED_COMPOSITION}

MIGRATION_RULES: dict[str, MigrationRule] = {
    rule.legacy: rule
    for rule in (
        MigrationRule("IPAdapter", "LegacyIPAdapter", notes=APPLYING),
        MigrationRule("IPAdapterAdvanced", "LegacyIPAdapter", notes=APPLYING),
        MigrationRule("IPAdapterBatch", "LegacyIPAdapter", fixed=BY_FRAME, dropped=WITHOUT_CHUNK, notes=APPLYING),
        MigrationRule("IPAdapterFaceID", "LegacyIPAdapter", notes=(*APPLYING, LARGEST_FACES)),
        MigrationRule(
            "IPAdapterFaceIDKolors",
            "LegacyIPAdapter",
            notes=(*APPLYING, LARGEST_FACES),
        ),
        MigrationRule("IPAAdapterFaceIDBatch", "LegacyIPAdapter", fixed=BY_FRAME, notes=(*APPLYING, LARGEST_FACES)),
        MigrationRule("IPAdapterMS", "LegacyIPAdapter", notes=(*APPLYING, IGNORED_TYPE, PRECISE_BY_LAYER)),
        MigrationRule("IPAdapterClipVisionEnhancer", "LegacyIPAdapter", notes=APPLYING),
        MigrationRule(
            "IPAdapterClipVisionEnhancerBatch",
            "LegacyIPAdapter",
            fixed=BY_FRAME,
            dropped=WITHOUT_CHUNK,
            notes=APPLYING,
        ),
        MigrationRule(
            "IPAdapterPreciseStyleTransfer", "LegacyIPAdapter", fixed=PRECISE_STYLE, notes=(BLACK_PICTURE, ONCE)
        ),
        MigrationRule(
            "IPAdapterPreciseStyleTransferBatch",
            "LegacyIPAdapter",
            fixed=PRECISE_STYLE | BY_FRAME,
            notes=(BLACK_PICTURE, ONCE),
        ),
        MigrationRule(
            "IPAdapterPreciseComposition",
            "LegacyIPAdapter",
            fixed=PRECISE_COMPOSITION,
            notes=(ALWAYS_MIDDLE, BLACK_PICTURE, ONCE),
        ),
        MigrationRule(
            "IPAdapterPreciseCompositionBatch",
            "LegacyIPAdapter",
            fixed=PRECISE_COMPOSITION | BY_FRAME,
            notes=(ALWAYS_MIDDLE, BLACK_PICTURE, ONCE),
        ),
        MigrationRule("IPAdapterTiled", "LegacyIPAdapterTiled", notes=(*APPLYING, TILES)),
        MigrationRule(
            "IPAdapterTiledBatch",
            "LegacyIPAdapterTiled",
            fixed=BY_FRAME,
            dropped=WITHOUT_CHUNK,
            notes=(*APPLYING, TILES),
        ),
        MigrationRule(
            "IPAdapterStyleComposition",
            "LegacyIPAdapterStyleComposition",
            notes=(EXPANDED_MIDDLE, BLACK_PICTURE, ONCE),
        ),
        MigrationRule(
            "IPAdapterStyleCompositionBatch",
            "LegacyIPAdapterStyleComposition",
            fixed=BY_FRAME,
            notes=(EXPANDED_MIDDLE, BLACK_PICTURE, ONCE),
        ),
        MigrationRule(
            "IPAdapterEmbeds",
            "LegacyIPAdapterEmbeds",
            notes=(MIDDLE_ACTS, ONCE),
        ),
        MigrationRule(
            "IPAdapterEmbedsBatch",
            "LegacyIPAdapterEmbeds",
            fixed=BY_FRAME,
            notes=(MIDDLE_ACTS, ONCE),
        ),
        MigrationRule("IPAdapterFromParams", "LegacyIPAdapterFromParams", notes=(ALWAYS_MIDDLE, BLACK_PICTURE, ONCE)),
        MigrationRule("IPAdapterRegionalConditioning", "LegacyIPAdapterRegion"),
        MigrationRule("IPAdapterCombineParams", "LegacyIPAdapterCombineParams"),
        MigrationRule("IPAdapterEncoder", "LegacyIPAdapterEncoder", notes=(NEUTRAL,)),
        MigrationRule("IPAdapterCombineEmbeds", "LegacyIPAdapterCombineEmbeds"),
        MigrationRule("IPAdapterUnifiedLoader", "FindIPAdapter", dropped=WITHOUT_CHAIN, notes=(FOUND_BY_CONTENT,)),
        MigrationRule(
            "IPAdapterUnifiedLoaderCommunity", "FindIPAdapter", dropped=WITHOUT_CHAIN, notes=(FOUND_BY_CONTENT,)
        ),
        MigrationRule(
            "IPAdapterUnifiedLoaderFaceID",
            "LegacyIPAdapterFaceIDLoader",
            dropped=WITHOUT_CHAIN,
            notes=(FOUND_BY_CONTENT, LORA_INSIDE),
        ),
        MigrationRule("IPAdapterModelLoader", "LoadIPAdapter", renamed={"ipadapter_file": "ip_adapter_name"}),
        MigrationRule("IPAdapterInsightFaceLoader", "LoadInsightFace"),
        MigrationRule(
            "IPAdapterNoise",
            "ImagePromptNoise",
            renamed={"image_optional": "image"},
            notes=(NOISE, BLUR),
        ),
        MigrationRule(
            "PrepImageForClipVision",
            "PrepareReferenceImage",
            renamed={"crop_position": "crop"},
            dropped={"interpolation": "there is one way to resize"},
            notes=(INTERPOLATION,),
        ),
        MigrationRule(
            "IPAdapterSaveEmbeds", "SaveImagePrompt", renamed={"embeds": "image_prompt"}, notes=(SAVE_EMBEDS,)
        ),
        MigrationRule(
            "IPAdapterLoadEmbeds", "LoadImagePrompt", renamed={"embeds": "image_prompt_name"}, notes=(LOAD_EMBEDS,)
        ),
        MigrationRule("IPAdapterWeights", "LegacyIPAdapterWeights", notes=(RANDOM,)),
        MigrationRule("IPAdapterWeightsFromStrategy", "LegacyIPAdapterWeights"),
        MigrationRule("IPAdapterCombineWeights", "LegacyIPAdapterCombineWeights"),
        MigrationRule("IPAdapterPromptScheduleFromWeightsStrategy", "LegacyIPAdapterPromptSchedule"),
    )
}

RENAMED_KINDS = {"IPADAPTER": "IP_ADAPTER", "EMBEDS": "IMAGE_PROMPT"}
