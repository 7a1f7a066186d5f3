"""The pieces that the shipped workflows are put together from, with the values that suit most pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .graph import Block, Column, Inputs, ModelFile, Node, Output
from .models import SIGLIP, VIT_H, VIT_L

PICTURE = "example.png"  # the host's own, in every fresh input folder
FOLDER = "training"  # below the input folder, to be made by the user
GOOD = "high quality, sharp focus, fine detail"
BAD = "blurry, low quality, distorted, text, watermark"
SD15_MEGAPIXELS = 0.25  # as many as 512 x 512

NARROW, WIDE, RESULT = 300, 340, 420  # widths of columns
IMAGE_HEIGHT, TEXT_HEIGHT, PICTURE_HEIGHT = 290, 130, 480
PREVIEW, SHOWN_TEXT = 220, 110  # what a run adds to nodes that show a picture of the sampling, or a text
NOTHING: Inputs = {}  # no further inputs
TRAINING_HEIGHT, EVALUATION_HEIGHT = 800, 520


@dataclass(frozen=True)
class Base:
    """Loaders of a base model, and where its parts come out."""

    nodes: tuple[Node, ...]
    model: Output
    clip: Output
    vae: Output


@dataclass(frozen=True)
class Models:
    """Loaders of what every image prompt needs, and of what a workflow needs besides."""

    base: Base
    adapter: Output
    encoder: Output
    nodes: tuple[Node, ...]  # all of them, in reading order

    @property
    def model(self) -> Output:
        return self.base.model

    @property
    def clip(self) -> Output:
        return self.base.clip

    @property
    def vae(self) -> Output:
        return self.base.vae

    @property
    def column(self) -> Column:
        return Column(NARROW, (Block("Models", self.nodes),))


@dataclass(frozen=True)
class ImagePrompt:
    """A reference image, its prompt, and a model that follows it."""

    reference: Node
    prompt: Node
    apply: Node

    @property
    def model(self) -> Output:
        return self.apply["model"]

    def column(self, title: str = "Image prompt") -> Column:
        return Column(NARROW, (Block(title, (self.reference, self.prompt, self.apply)),))


@dataclass(frozen=True)
class TrainingPictures:
    """Pictures with captions from a folder, at one size, and what the base model makes of them."""

    loaded: Node
    scaled: Node
    encoded: Node
    empty: Node  # what stands for no caption

    @property
    def column(self) -> Column:
        return Column(NARROW, (Block("Pictures and captions", (self.loaded, self.scaled, self.encoded, self.empty)),))


@dataclass(frozen=True)
class TextPrompt:
    """What the picture shall show, and what not."""

    positive: Node
    negative: Node
    before: tuple[Node, ...] = ()  # what these two are made of

    @property
    def block(self) -> Block:
        return Block("Text prompt", (*self.before, self.positive, self.negative))

    @property
    def column(self) -> Column:
        return Column(WIDE, (self.block,))


@dataclass(frozen=True)
class Start:
    """What sampling starts from: a latent, and how much of it is drawn anew."""

    latent: Node
    denoise: float = 1.0


@dataclass(frozen=True)
class Settings:
    """Of a KSampler."""

    cfg: float = 7.5
    steps: int = 30
    sampler: str = "dpmpp_2m"
    scheduler: str = "karras"
    after_run: str = "randomize"


def load_models(checkpoint: ModelFile, adapter: ModelFile, *others: Node) -> Models:
    return with_base(load_checkpoint(checkpoint), load_ip_adapter(adapter), load_image_encoder(), others)


def with_base(base: Base, adapter: Node, encoder: Output, others: tuple[Node, ...] = ()) -> Models:
    """A base model with an adapter and its encoder, each loaded by name."""
    nodes = (*base.nodes, adapter, *others, encoder.node)
    return Models(base, adapter["ip_adapter"], encoder, nodes)


def find_models(checkpoint: ModelFile, preset: str, files: tuple[ModelFile, ...]) -> Models:
    """A checkpoint, and what Find IP-Adapter has for it among the user's files; `files` are those to get."""
    base = load_checkpoint(checkpoint)
    found = Node("FindIPAdapter", {"model": base.model, "preset": preset}, models=files, grows=SHOWN_TEXT)
    followed = replace(base, model=found["model"])
    return Models(followed, found["ip_adapter"], found["clip_vision"], (*base.nodes, found))


def load_checkpoint(file: ModelFile) -> Base:
    loaded = Node("CheckpointLoaderSimple", {"ckpt_name": file.name}, models=(file,))
    return Base((loaded,), loaded["MODEL"], loaded["CLIP"], loaded["VAE"])


def load_ip_adapter(file: ModelFile) -> Node:
    return Node("LoadIPAdapter", {"ip_adapter_name": file.name}, models=offered(file))


def offered(file: ModelFile) -> tuple[ModelFile, ...]:
    """What the front end offers to download, which is safetensors only; a note names other files."""
    return (file,) if file.name.endswith(".safetensors") else ()


def load_image_encoder(file: ModelFile = VIT_H) -> Output:
    return Node("CLIPVisionLoader", {"clip_name": file.name}, models=(file,))["CLIP_VISION"]


def load_siglip() -> Output:
    return Node("LoadSigLIPVision", {"clip_name": SIGLIP.name}, models=(SIGLIP,))["clip_vision"]


def load_controlnet(file: ModelFile) -> Node:
    return Node("ControlNetLoader", {"control_net_name": file.name}, models=(file,))


def load_image(title: str) -> Node:
    return Node("LoadImage", {"image": PICTURE}, title, height=IMAGE_HEIGHT)


def image_prompt(
    encoder: Output,
    adapter: Output,
    model: Output,
    weight: float,
    title: str = "Reference image",
    more: Inputs = NOTHING,
) -> ImagePrompt:
    reference = load_image(title)
    prompt = Node("EncodeImagePrompt", {"clip_vision": encoder, "image": reference["IMAGE"]})
    inputs: Inputs = {
        "model": model,
        "ip_adapter": adapter,
        "image_prompt": prompt["image_prompt"],
        "weight": weight,
        **more,
    }
    return ImagePrompt(reference, prompt, Node("ApplyIPAdapter", inputs))


def only_image_prompt(models: Models, weight: float, more: Inputs = NOTHING) -> ImagePrompt:
    """The one image prompt of a workflow."""
    return image_prompt(models.encoder, models.adapter, models.model, weight, more=more)


def image_prompts(models: Models, prompt: Node, weights: tuple[float, ...]) -> tuple[Node, ...]:
    """One reference's prompt on as many models as weights."""
    inputs: Inputs = {
        "model": models.model,
        "ip_adapter": models.adapter,
        "image_prompt": prompt["image_prompt"],
    }
    return tuple(Node("ApplyIPAdapter", {**inputs, "weight": weight}, f"Weight {weight:g}") for weight in weights)


def text_prompt(models: Models, positive: str = GOOD) -> TextPrompt:
    clip = models.clip
    return TextPrompt(encode_text(clip, positive, "Positive prompt"), encode_text(clip, BAD, "Negative prompt"))


def encode_text(clip: Output, text: str, title: str) -> Node:
    return Node("CLIPTextEncode", {"clip": clip, "text": text}, title, height=TEXT_HEIGHT)


def empty_latent(side: int) -> Node:
    return Node("EmptyLatentImage", {"width": side, "height": side})


def shrink(image: Node) -> Node:
    """An image of any size, its proportions kept, at the size SD1.5 was made for; sides are multiples of 8 pixels."""
    size = {"megapixels": SD15_MEGAPIXELS, "resolution_steps": 8}
    return Node("ImageScaleToTotalPixels", {"image": image["IMAGE"], "upscale_method": "lanczos", **size})


def encode_latent(models: Models, image: Node) -> Node:
    return Node("VAEEncode", {"pixels": image["IMAGE"], "vae": models.vae})


def find_edges(image: Node) -> Node:
    return Node("Canny", {"image": image["IMAGE"], "low_threshold": 0.3, "high_threshold": 0.6})


def apply_controlnet(text: TextPrompt, controlnet: Node, hint: Node, strength: float = 1.0) -> Node:
    inputs: Inputs = {
        "positive": text.positive["CONDITIONING"],
        "negative": text.negative["CONDITIONING"],
        "control_net": controlnet["CONTROL_NET"],
        "image": hint["IMAGE"],
        "strength": strength,
    }
    return Node("ControlNetApplyAdvanced", inputs)


def sample(model: Output, positive: Output, negative: Output, start: Start, settings: Settings = Settings()) -> Node:
    inputs: Inputs = {
        "model": model,
        "positive": positive,
        "negative": negative,
        "latent_image": start.latent["LATENT"],
        "seed": 42,
        "steps": settings.steps,
        "cfg": settings.cfg,
        "sampler_name": settings.sampler,
        "scheduler": settings.scheduler,
        "denoise": start.denoise,
    }
    return Node("KSampler", inputs, grows=PREVIEW, after_run=settings.after_run)


def sample_prompted(model: Output, text: TextPrompt, start: Start, settings: Settings = Settings()) -> Node:
    """Sampling with the text prompt as it is."""
    return sample(model, text.positive["CONDITIONING"], text.negative["CONDITIONING"], start, settings)


def decode(models: Models, sampler: Node) -> Node:
    return Node("VAEDecode", {"samples": sampler["LATENT"], "vae": models.vae})


def batch(pictures: tuple[Node, ...]) -> Node:
    return Node("BatchImagesNode", {f"images.image{index}": one["IMAGE"] for index, one in enumerate(pictures)})


def load_training_pictures(models: Models, side: int) -> TrainingPictures:
    """A folder's pictures as squares of so many pixels a side."""
    loaded = Node("LoadImageTextDataSetFromFolder", {"folder": FOLDER})
    size: Inputs = {"upscale_method": "lanczos", "width": side, "height": side, "crop": "center"}
    scaled = Node("ImageScale", {"image": loaded["images"], **size})
    parts = {"vae": models.vae, "clip": models.clip, "texts": loaded["texts"]}
    encoded = Node("MakeTrainingDataset", {"images": scaled["IMAGE"], **parts})
    return TrainingPictures(loaded, scaled, encoded, encode_text(models.clip, "", "No caption"))


def train(models: Models, pictures: TrainingPictures, steps: int, batch_size: int) -> Node:
    """Training that goes on from the loaded adapter."""
    inputs: Inputs = {
        "model": models.model,
        "clip_vision": models.encoder,
        "images": pictures.scaled["IMAGE"],
        "latents": pictures.encoded["latents"],
        "positive": pictures.encoded["conditioning"],
        "negative": pictures.empty["CONDITIONING"],
        "ip_adapter": models.adapter,
        "steps": steps,
        "batch_size": batch_size,
    }
    # Another seed would train all anew, however little was changed behind the training.
    return Node("TrainIPAdapter", inputs, height=TRAINING_HEIGHT, after_run="fixed")


def evaluate(pictures: Node, reference: Node, caption: str) -> Node:
    inputs: Inputs = {
        "generated": pictures["IMAGE"],
        "references": reference["IMAGE"],
        "clip_name": VIT_L.name,
        "captions": caption,
    }
    return Node("EvaluateImagePrompt", inputs, models=(VIT_L,), height=EVALUATION_HEIGHT)


def finish(name: str, models: Models, sampler: Node, before: tuple[Node, ...] = ()) -> tuple[Column, Column]:
    """The columns in which a picture is sampled (with what comes right before), decoded and saved under a name."""
    decoded = decode(models, sampler)
    saved = Node("SaveImage", {"images": decoded["IMAGE"], "filename_prefix": name}, height=PICTURE_HEIGHT)
    return (
        Column(NARROW, (Block("Sampling", (*before, sampler)),)),
        Column(RESULT, (Block("Result", (decoded, saved)),)),
    )
