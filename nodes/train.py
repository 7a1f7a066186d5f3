"""Training: pictures with captions to an adapter; and keeping it."""

from __future__ import annotations

from typing import Any

from ..ipadapter.adapters.families import BASE, TRAINABLE, trainable
from ..ipadapter.host.adapters.adapter import Adapter
from ..ipadapter.host.adapters.saving import save_to_output
from ..ipadapter.host.api import io, ui
from ..ipadapter.host.node import Node
from ..ipadapter.host.notes import show_text, spoken
from ..ipadapter.host.training.data import graph_pictures
from ..ipadapter.host.training.node import PRECISIONS, train_adapter
from ..ipadapter.host.training.watching import TrainingWatch
from ..ipadapter.training.rates import SCHEDULES
from ..ipadapter.training.recipe import Drops, Recipe
from . import inputs
from .search import WORDS
from .sockets import TRAINING, InsightFaceSocket, IPAdapterSocket

LATER = ("schedule", "warmup_steps", "min_snr")
LossMap = io.Custom("LOSS_MAP")


def material_inputs() -> list[io.Input]:
    """What is learned from."""
    return [
        io.Model.Input("model", tooltip="The model the adapter is for. It is not changed."),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="The image encoder the adapter will need ever after. FaceID alone needs none.",
        ),
        io.Image.Input("images", tooltip="The pictures, as a list or a batch."),
        io.Latent.Input("latents", tooltip="The same pictures through the VAE, from Make Training Dataset."),
        io.Conditioning.Input(
            "positive",
            tooltip="Their captions, one for each picture or one for all, from Make Training Dataset.",
        ),
        io.Conditioning.Input(
            "negative", tooltip="CLIP Text Encode with an empty text: what a dropped caption becomes."
        ),
    ]


def learner_inputs() -> list[io.Input]:
    """What the adapter will be."""
    return [
        io.Combo.Input(
            "kind",
            options=list(TRAINABLE),
            default=BASE.title,
            tooltip="base follows the picture's meaning; plus reads its details, with more tokens. XLabs FLUX is for "
            "FLUX.1. FaceID follows a person, and FaceID Plus the look of the face too.",
        ),
        inputs.whole("tokens", 0, (0, 1024), "Image tokens. 0: 16 for plus and XLabs FLUX, 4 for the others."),
    ]


def optimizer_inputs() -> list[io.Input]:
    """How long and how fast it learns."""
    return [
        inputs.whole("steps", 1000, (1, 10_000_000), "Optimizer steps."),
        inputs.whole("batch_size", 1, (1, 1024), "Pictures a forward pass."),
        inputs.whole("grad_accumulation", 1, (1, 1024), "Forward passes an optimizer step."),
        io.Float.Input("learning_rate", default=1e-4, min=1e-8, max=1.0, step=1e-6, round=1e-8, tooltip="Of AdamW."),
        io.Float.Input("weight_decay", default=0.01, min=0.0, max=1.0, step=0.001, tooltip="Of AdamW.", advanced=True),
    ]


def probability(name: str, what: str) -> io.Float.Input:
    """How often something is left out."""
    return io.Float.Input(
        name,
        default=0.05,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip=f"How often a picture is learned without its {what}. One draw decides the three, so their sum is at "
        "most 1; CFG needs them above 0.",
        advanced=True,
    )


def later_inputs() -> list[io.Input]:
    """What the paper's recipe has not; behind the others, so that saved graphs keep their values."""
    return [
        io.Combo.Input(
            "schedule",
            options=list(SCHEDULES),
            default="constant",
            optional=True,
            tooltip="How the learning rate goes down after the warm-up. constant: it stays, as in the paper.",
            advanced=True,
        ),
        inputs.whole(
            "warmup_steps",
            0,
            (0, 10_000_000),
            "Steps in which the learning rate rises to its value.",
            optional=True,
            advanced=True,
        ),
        io.Float.Input(
            "min_snr",
            default=0.0,
            min=0.0,
            max=1000.0,
            step=0.5,
            optional=True,
            tooltip="The gamma of min-SNR weighting, usually 5: what is nearly free of noise counts less. 0: all noise "
            "levels alike, as in the paper.",
            advanced=True,
        ),
    ]


def cost_inputs() -> list[io.Input]:
    """What it takes of time and memory."""
    return [
        io.Combo.Input(
            "dtype",
            options=list(PRECISIONS),
            default="auto",
            tooltip="What the model computes in. auto is the model's own, but bf16 or fp32 in place of fp16. "
            "The adapter itself learns in fp32.",
        ),
        io.Boolean.Input("gradient_checkpointing", default=True, tooltip="Less memory for about a third more time."),
    ]


class TrainIPAdapter(Node):
    """Train an adapter for a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TrainIPAdapter",
            display_name="Train IP-Adapter",
            category=TRAINING,
            description="Trains an IP-Adapter on pictures with captions, as the paper does: the model stays as it is, "
            "only the image projection and the image keys and values learn. Cancelling keeps what was learned, in "
            "output/ipadapter.",
            search_aliases=WORDS["TrainIPAdapter"],
            is_input_list=True,
            inputs=[
                *material_inputs(),
                *learner_inputs(),
                *optimizer_inputs(),
                probability("drop_text", "caption"),
                probability("drop_image", "image prompt"),
                probability("drop_both", "caption and image prompt"),
                *cost_inputs(),
                inputs.seed(
                    "Of the projection's first weights, the order of the pictures, the noise and the drops.",
                    control=io.ControlAfterGenerate.fixed,
                ),
                IPAdapterSocket.Input("ip_adapter", optional=True, tooltip="An adapter to go on from."),
                *later_inputs(),
                InsightFaceSocket.Input(
                    "insightface", optional=True, tooltip="From Load InsightFace; FaceID kinds find faces with it."
                ),
            ],
            outputs=[
                IPAdapterSocket.Output("ip_adapter", tooltip="For Apply IP-Adapter and Save IP-Adapter."),
                LossMap.Output("loss_map", tooltip="For Plot Loss Graph."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(
        cls,
        drop_text: list[Any] | None = None,
        drop_image: list[Any] | None = None,
        drop_both: list[Any] | None = None,
    ) -> bool | str:
        lists = (drop_text, drop_image, drop_both)
        given = [value for values in lists for value in values or () if isinstance(value, (int, float))]
        return sum(given) <= 1 or "drop_text, drop_image and drop_both are parts of one draw: their sum is at most 1."

    @classmethod
    def execute(
        cls,
        images: list[Any],
        latents: list[Any],
        positive: list[Any],
        negative: list[Any],
        ip_adapter: list[Adapter] | None = None,
        **lists: list[Any],
    ) -> io.NodeOutput:
        one = {name: values[0] for name, values in lists.items()}
        pictures = graph_pictures(images, latents, positive, negative[0])
        recipe = Recipe(
            trainable(one["kind"]),
            one["tokens"],
            one["steps"],
            one["batch_size"],
            one["grad_accumulation"],
            one["learning_rate"],
            one["weight_decay"],
            Drops(one["drop_text"], one["drop_image"], one["drop_both"]),
            one["seed"],
            **{name: one[name] for name in LATER if name in one},
        )
        watch = TrainingWatch(recipe.steps, show_text(cls.hidden.unique_id))
        start = ip_adapter[0] if ip_adapter else None
        trained = train_adapter(
            one["model"],
            one.get("clip_vision"),
            pictures,
            recipe,
            one["dtype"],
            one["gradient_checkpointing"],
            start,
            watch,
            one.get("insightface"),
        )
        return io.NodeOutput(
            trained.adapter, {"loss": trained.losses}, ui=ui.PreviewImage(watch.chart_tensor(), cls=cls)
        )


class SaveIPAdapter(Node):
    """Write an adapter to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveIPAdapter",
            display_name="Save IP-Adapter",
            category=TRAINING,
            description="Writes an adapter as safetensors in the public layout, which this pack and diffusers load. "
            "Load IP-Adapter lists what is in output/ipadapter after pressing R.",
            search_aliases=WORDS["SaveIPAdapter"],
            is_output_node=True,
            inputs=[
                IPAdapterSocket.Input("ip_adapter", tooltip="From Train IP-Adapter."),
                inputs.filename_prefix("ipadapter/ip-adapter"),
                io.String.Input(
                    "license",
                    default="",
                    optional=True,
                    tooltip="Kept in the file: what others may do with it, such as CC-BY-4.0.",
                    advanced=True,
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, ip_adapter: Adapter, filename_prefix: str, license: str = "") -> io.NodeOutput:
        path = save_to_output(ip_adapter, filename_prefix, license)
        return io.NodeOutput(ui=spoken(str(path), f"Saved as {path.name}"))
