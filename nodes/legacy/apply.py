"""The old nodes that encode references and apply them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...ipadapter.faces.reading import FaceAnalysis
from ...ipadapter.host.adapters.adapter import Adapter
from ...ipadapter.host.api import ClipVisionModel, ModelPatcher, io
from ...ipadapter.host.files import HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS
from ...ipadapter.host.legacy.actions import (
    Sources,
    StyleAndComposition,
    apply_prompt,
    apply_style_and_composition,
    load_face_adapter,
    read_tiles,
    weigh_faces,
)
from ...ipadapter.host.legacy.reading import LegacyReading
from ...ipadapter.host.library.finding import folders_fingerprint
from ...ipadapter.host.node import Node
from ...ipadapter.host.notes import spoken
from ...ipadapter.legacy.migration.legacy_nodes import FACE_PRESETS, LEGACY_PROVIDERS
from ...ipadapter.legacy.migration.new_nodes import BOOSTED_COMPOSITION, BOOSTED_STYLE
from ...ipadapter.legacy.settings import LegacySettings
from ...ipadapter.prompts.prompt import Order
from ...ipadapter.strength.strength import Scaling
from .. import inputs as shared
from ..sockets import IPAdapterSocket
from . import inputs
from .schema import stand_in

HIDDEN = {"optional": True, "advanced": True}  # what few of the old nodes had


def layer_inputs() -> list[io.Input]:
    """Weights by layer, and the second weights of some weight types."""
    tooltip = "The second weight of the weight type '{}', which alone reads it."
    return [
        shared.long_text(
            "layer_weights",
            "Weights by layer in place of weight_type, such as 3:1, 6:0.5. Empty: weight_type counts.",
            "",
            **HIDDEN,
        ),
        shared.weight("style_boost", 1.0, tooltip.format(BOOSTED_STYLE), **HIDDEN),
        shared.weight("composition_boost", 0.0, tooltip.format(BOOSTED_COMPOSITION), **HIDDEN),
    ]


def detail_inputs() -> list[io.Input]:
    """A closer look at the references."""
    return [
        shared.whole(
            "enhance_tiles",
            1,
            (1, 16),
            "Above 1 the references are also read in so many by so many pieces.",
            **HIDDEN,
        ),
        shared.fraction("enhance_ratio", 1.0, "How much the pieces count.", **HIDDEN),
    ]


def face_inputs() -> list[io.Input]:
    """What of a FaceID adapter can be weighed."""
    plus = "FaceID Plus v2: how much the picture of the face counts beside who it is."
    return [
        shared.number("weight_faceidv2", 1.0, (-1.0, 5.0), plus, **HIDDEN),
        shared.number(
            "weight_kolors", 1.0, (-1.0, 5.0), "Kolors' FaceID: what its tokens are multiplied by.", **HIDDEN
        ),
    ]


class LegacyIPAdapter(Node):
    """Encode and apply."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapter",
            display_name="IPAdapter",
            description="In new graphs use Encode Image Prompt and Apply IP-Adapter.",
            search_aliases=["IPAdapter", "IPAdapterAdvanced", "IPAdapterFaceID", "IPAdapterMS"],
            inputs=[
                *inputs.model_and_adapter(),
                shared.image(),
                *inputs.strength(),
                inputs.combine_embeds(advanced=True),
                *inputs.manner(advanced=True),
                *layer_inputs(),
                *detail_inputs(),
                *face_inputs(),
                inputs.noise(**HIDDEN),
                *inputs.surroundings(),
                inputs.insightface(),
            ],
            outputs=[
                inputs.model_output(),
                io.Image.Output("face_image", tooltip="The faces that were read, or the reference as it is."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Adapter,
        image: Tensor,
        weight: float | Sequence[float],
        weight_type: str,
        start_at: float,
        end_at: float,
        combine_embeds: str = "concat",
        embeds_scaling: str = Scaling.VALUES.value,
        order: str = Order.TOGETHER.value,
        middle_block: bool = True,
        layer_weights: str = "",
        style_boost: float = 1.0,
        composition_boost: float = 0.0,
        enhance_tiles: int = 1,
        enhance_ratio: float = 1.0,
        weight_faceidv2: float = 1.0,
        weight_kolors: float = 1.0,
        noise: float = 0.0,
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
        insightface: FaceAnalysis | None = None,
    ) -> io.NodeOutput:
        settings = LegacySettings(
            weight,
            weight_type,
            start_at,
            end_at,
            Scaling(embeds_scaling),
            Order(order),
            middle_block,
            layer_weights,
            style_boost,
            composition_boost,
        )
        reading = LegacyReading(combine_embeds, Order(order), enhance_tiles, enhance_ratio)
        adapter = weigh_faces(ipadapter, weight_faceidv2, weight_kolors)
        seen = Sources(adapter, clip_vision, image_negative, insightface, noise).see(image, reading)
        return io.NodeOutput(apply_prompt(model, adapter, seen.prompt, settings, attn_mask), seen.pictures)


class LegacyIPAdapterFaceIDLoader(Node):
    """Find a FaceID adapter and put its LoRA on the model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterFaceIDLoader",
            display_name="IPAdapter Unified Loader FaceID",
            description="In new graphs use Find IP-Adapter; Apply IP-Adapter puts the LoRA on the model.",
            search_aliases=["IPAdapterUnifiedLoaderFaceID", "faceid"],
            inputs=[
                inputs.model(),
                io.Combo.Input(
                    "preset", options=list(FACE_PRESETS), default=FACE_PRESETS[0], tooltip="The kind of adapter."
                ),
                io.Float.Input(
                    "lora_strength",
                    default=0.6,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How strongly the adapter's LoRA acts on the model.",
                ),
                io.Combo.Input(
                    "provider",
                    options=list(LEGACY_PROVIDERS),
                    default=LEGACY_PROVIDERS[0],
                    tooltip="What faces are read with.",
                ),
            ],
            outputs=[
                io.Model.Output("MODEL", tooltip="The model with the adapter's LoRA."),
                IPAdapterSocket.Output("ipadapter", tooltip="The adapter, with its encoder and its faces."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **given: object) -> str:
        return folders_fingerprint(HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS)

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str, lora_strength: float, provider: str) -> io.NodeOutput:
        found = load_face_adapter(model, preset, lora_strength, provider)
        return io.NodeOutput(found.model, found.adapter, ui=spoken(found.text))


class LegacyIPAdapterTiled(Node):
    """Encode by tiles and apply each in its place."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterTiled",
            display_name="IPAdapter Tiled",
            description="In new graphs use Encode Image Prompt with fit set to tiles in place, and Apply IP-Adapter.",
            search_aliases=["IPAdapterTiled", "IPAdapterTiledBatch", "tiles"],
            inputs=[
                *inputs.model_and_adapter(),
                shared.image("A reference of any shape, with the proportions of the output."),
                *inputs.strength(),
                shared.fraction("sharpening", 0.0, "How much the tiles are sharpened."),
                inputs.combine_embeds(advanced=True),
                *inputs.manner(),
                inputs.noise(**HIDDEN),
                *inputs.surroundings(),
            ],
            outputs=[
                inputs.model_output(),
                io.Image.Output("tiles", tooltip="The tiles of the reference."),
                io.Mask.Output("masks", tooltip="Where each tile is."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Adapter,
        image: Tensor,
        weight: float | Sequence[float],
        weight_type: str,
        start_at: float,
        end_at: float,
        sharpening: float,
        combine_embeds: str = "concat",
        embeds_scaling: str = Scaling.VALUES.value,
        order: str = Order.TOGETHER.value,
        middle_block: bool = True,
        noise: float = 0.0,
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        settings = LegacySettings(
            weight, weight_type, start_at, end_at, Scaling(embeds_scaling), Order(order), middle_block
        )
        reading = LegacyReading(combine_embeds, Order(order))
        sources = Sources(ipadapter, clip_vision, image_negative, noise=noise)
        tiles = read_tiles(sources, image, reading, sharpening)
        followed = apply_prompt(model, ipadapter, tiles.prompt, settings, attn_mask)
        return io.NodeOutput(followed, tiles.images, tiles.masks)


class LegacyIPAdapterStyleComposition(Node):
    """Encode and apply two references, each in its own layers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return stand_in(
            node_id="LegacyIPAdapterStyleComposition",
            display_name="IPAdapter Style & Composition",
            description="In new graphs use Apply IP-Adapter twice, once with the layers of style transfer and once "
            "with those of composition.",
            search_aliases=["IPAdapterStyleComposition", "IPAdapterStyleCompositionBatch", "style transfer"],
            inputs=[
                *inputs.model_and_adapter(),
                shared.image("The reference for the style.", "image_style"),
                shared.image("The reference for the composition.", "image_composition"),
                inputs.weight("weight_style", "How strongly the style acts. A list has a weight for each frame."),
                inputs.weight("weight_composition", "How strongly the composition acts."),
                io.Boolean.Input(
                    "expand_style", default=False, tooltip="Whether the style acts in all layers but composition's."
                ),
                *shared.window(),
                inputs.combine_embeds("average", advanced=True),
                *inputs.manner(),
                *inputs.surroundings(),
            ],
            outputs=[inputs.model_output()],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        ipadapter: Adapter,
        image_style: Tensor,
        image_composition: Tensor,
        weight_style: float | Sequence[float],
        weight_composition: float | Sequence[float],
        expand_style: bool,
        start_at: float,
        end_at: float,
        combine_embeds: str = "average",
        embeds_scaling: str = Scaling.VALUES.value,
        order: str = Order.TOGETHER.value,
        middle_block: bool = True,
        image_negative: Tensor | None = None,
        attn_mask: Tensor | None = None,
        clip_vision: ClipVisionModel | None = None,
    ) -> io.NodeOutput:
        settings = LegacySettings(
            start_at=start_at,
            end_at=end_at,
            scaling=Scaling(embeds_scaling),
            order=Order(order),
            middle_block=middle_block,
        )
        followed = apply_style_and_composition(
            model,
            Sources(ipadapter, clip_vision, image_negative),
            (image_style, image_composition),
            StyleAndComposition(weight_style, weight_composition, expand_style),
            LegacyReading(combine_embeds, Order(order)),
            settings,
            attn_mask,
        )
        return io.NodeOutput(followed)
