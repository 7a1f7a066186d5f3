"""What the paper compares itself with, each as a graph of the host's own nodes: which files it needs, or why it cannot.

A method draws where the server has its files, under the names they are published by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from .graph import ApiGraph, DrawingRecipe, GraphLink, build_graph, node, text_and_sampler
from .shuffle import shuffle_content

FilesFound = Mapping[str, str]  # what a file is for -> its name on the server


@dataclass(frozen=True)
class FileNeed:
    """A file that a method cannot do without: where the server lists it, and words one of which is in its name."""

    what: str
    loader: str
    input: str
    words: tuple[str, ...]


CHECKPOINT = FileNeed("checkpoint", "CheckpointLoaderSimple", "ckpt_name", ("v1-5-pruned", "sd15", "sd-v1-5"))
ADAPTER = FileNeed("adapter", "LoadIPAdapter", "ip_adapter_name", ("ip-adapter_sd15.",))
PLUS_ADAPTER = FileNeed("adapter", "LoadIPAdapter", "ip_adapter_name", ("ip-adapter-plus_sd15.",))
VIT_H_FILE = FileNeed("encoder", "CLIPVisionLoader", "clip_name", ("vit-h-14-laion2b",))
VIT_L_FILE = FileNeed("encoder", "CLIPVisionLoader", "clip_name", ("vit-large-patch14.", "vit-l-14", "clip_vision_l."))
SIGLIP_FILE = FileNeed("encoder", "CLIPVisionLoader", "clip_name", ("sigclip_vision_patch14_384", "so400m-patch14-384"))
UNCLIP = FileNeed("checkpoint", "unCLIPCheckpointLoader", "ckpt_name", ("sd21-unclip",))
VARIATIONS = FileNeed("checkpoint", "ImageOnlyCheckpointLoader", "ckpt_name", ("img-embed", "image-variations"))
STYLE = FileNeed("style", "StyleModelLoader", "style_model_name", ("t2iadapter_style",))
REDUX = FileNeed("style", "StyleModelLoader", "style_model_name", ("flux1-redux",))
SHUFFLE = FileNeed("controlnet", "ControlNetLoader", "control_net_name", ("_sd15_shuffle",))
FLUX_FILE = FileNeed("model", "UNETLoader", "unet_name", ("flux1-dev",))
T5 = FileNeed("t5", "DualCLIPLoader", "clip_name1", ("t5xxl",))
CLIP_L = FileNeed("clip_l", "DualCLIPLoader", "clip_name2", ("clip_l",))
FLUX_VAE = FileNeed("vae", "VAELoader", "vae_name", ("ae.safetensors",))


@dataclass(frozen=True)
class ComparedMethod:
    """A row of the comparison. `paper` is its name in the paper's Table 1, `cannot` why the host does not draw it."""

    name: str
    label: str
    paper: str = ""
    needs: tuple[FileNeed, ...] = ()
    build: Callable[[DrawingRecipe, FilesFound], ApiGraph] | None = None
    prepare: Callable[[Image.Image], Image.Image] | None = None  # what is done to an image prompt beforehand
    cannot: str = ""


def adapter_graph(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
    """The built-in graph with the files that were found."""
    graph = build_graph(recipe)
    graph["checkpoint"]["inputs"]["ckpt_name"] = files["checkpoint"]
    graph["adapter"]["inputs"]["ip_adapter_name"] = files["adapter"]
    graph["encoder"]["inputs"]["clip_name"] = files["encoder"]
    return graph


def vision(files: FilesFound, encoder: GraphLink | None = None) -> ApiGraph:
    """The image prompt through an encoder of the host."""
    loaded = {} if encoder else {"encoder": node("CLIPVisionLoader", clip_name=files["encoder"])}
    encode = node("CLIPVisionEncode", clip_vision=encoder or ["encoder", 0], image=["image", 0], crop="center")
    return {**loaded, "image": node("LoadImage", image=""), "encode": encode}


def unclip_graph(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
    """Stable unCLIP: the image embedding beside the time embedding, without noise."""
    given = node(
        "unCLIPConditioning",
        conditioning=["positive", 0],
        clip_vision_output=["encode", 0],
        strength=1.0,
        noise_augmentation=0.0,
    )
    return {
        "checkpoint": node("unCLIPCheckpointLoader", ckpt_name=files["checkpoint"]),
        **vision(files, ["checkpoint", 3]),
        "given": given,
        **text_and_sampler(recipe, ["checkpoint", 0], ["given", 0], size=768 if recipe.size == 512 else recipe.size),
    }


def variations_graph(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
    """SD Image Variations: the image embedding in the text's place, zeros for none, as SVD's node makes them."""
    given = node(
        "SVD_img2vid_Conditioning",
        clip_vision=["encoder", 0],
        init_image=["image", 0],
        vae=["checkpoint", 2],
        width=recipe.size,
        height=recipe.size,
        video_frames=1,
        motion_bucket_id=127,
        fps=6,
        augmentation_level=0.0,
    )
    sampled = text_and_sampler(recipe, ["checkpoint", 0], ["given", 0], negative=["given", 1])
    return {
        "checkpoint": node("ImageOnlyCheckpointLoader", ckpt_name=files["checkpoint"]),
        "encoder": node("CLIPVisionLoader", clip_name=files["encoder"]),
        "image": node("LoadImage", image=""),
        "given": given,
        **{key: made for key, made in sampled.items() if key not in ("positive", "negative")},
    }


def style(files: FilesFound) -> ApiGraph:
    """The host's style model on the text."""
    apply = node(
        "StyleModelApply",
        conditioning=["positive", 0],
        style_model=["style", 0],
        clip_vision_output=["encode", 0],
        strength=1.0,
        strength_type="multiply",
    )
    return {"style": node("StyleModelLoader", style_model_name=files["style"]), "given": apply}


def style_graph(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
    """T2I-Adapter's style adapter: eight tokens behind the text's."""
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=files["checkpoint"]),
        **vision(files),
        **style(files),
        **text_and_sampler(recipe, ["checkpoint", 0], ["given", 0]),
    }


def shuffle_graph(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
    """ControlNet's shuffle model on the shuffled image prompt."""
    given = node(
        "ControlNetApplyAdvanced",
        positive=["positive", 0],
        negative=["negative", 0],
        control_net=["controlnet", 0],
        image=["image", 0],
        strength=1.0,
        start_percent=0.0,
        end_percent=1.0,
    )
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=files["checkpoint"]),
        "controlnet": node("ControlNetLoader", control_net_name=files["controlnet"]),
        "image": node("LoadImage", image=""),
        "given": given,
        **text_and_sampler(recipe, ["checkpoint", 0], ["given", 0], negative=["given", 1]),
    }


def redux_graph(recipe: DrawingRecipe, files: FilesFound) -> ApiGraph:
    """FLUX Redux, with FLUX's own sampling: Euler at CFG 1 and guidance 3.5."""
    flux = {
        "model": node("UNETLoader", unet_name=files["model"], weight_dtype="default"),
        "text": node("DualCLIPLoader", clip_name1=files["t5"], clip_name2=files["clip_l"], type="flux"),
        "vae": node("VAELoader", vae_name=files["vae"]),
        "guidance": node("FluxGuidance", conditioning=["given", 0], guidance=3.5),
    }
    size = 1024 if recipe.size == 512 else recipe.size
    graph = {
        **flux,
        **vision(files),
        **style(files),
        **text_and_sampler(recipe, ["model", 0], ["guidance", 0], size=size),
    }
    for key in ("positive", "negative"):
        graph[key]["inputs"]["clip"] = ["text", 0]
    graph["latent"] |= {"class_type": "EmptySD3LatentImage"}
    graph["sample"]["inputs"] |= {"cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    graph["decode"]["inputs"]["vae"] = ["vae", 0]
    return graph


METHODS = (
    ComparedMethod("unclip", "SD unCLIP", "SD unCLIP", (UNCLIP,), unclip_graph),
    ComparedMethod(
        "variations", "SD Image Variations", "SD Image Variations", (VARIATIONS, VIT_L_FILE), variations_graph
    ),
    ComparedMethod(
        "t2i-style", "T2I-Adapter (Style)", "T2I-Adapter (Style)", (CHECKPOINT, VIT_L_FILE, STYLE), style_graph
    ),
    ComparedMethod(
        "shuffle", "ControlNet Shuffle", "ControlNet Shuffle", (CHECKPOINT, SHUFFLE), shuffle_graph, shuffle_content
    ),
    ComparedMethod("ip-adapter", "IP-Adapter", "IP-Adapter", (CHECKPOINT, ADAPTER, VIT_H_FILE), adapter_graph),
    ComparedMethod("ip-adapter-plus", "IP-Adapter Plus", "", (CHECKPOINT, PLUS_ADAPTER, VIT_H_FILE), adapter_graph),
    ComparedMethod("redux", "FLUX Redux", "", (FLUX_FILE, T5, CLIP_L, FLUX_VAE, SIGLIP_FILE, REDUX), redux_graph),
    ComparedMethod(
        "uni-controlnet",
        "Uni-ControlNet (Global Control)",
        "Uni-ControlNet (Global Control)",
        cannot="ComfyUI has no node that loads its global adapter, which is part of a whole checkpoint of its own",
    ),
    ComparedMethod(
        "reference-only",
        "ControlNet Reference-only",
        cannot="ComfyUI has no node of its own for it, and the paper gives it no numbers",
    ),
    ComparedMethod(
        "open-unclip", "Open unCLIP", "Open unCLIP", cannot="ComfyUI does not load Karlo's prior and decoder"
    ),
    ComparedMethod(
        "kandinsky", "Kandinsky-2-1", "Kandinsky-2-1", cannot="ComfyUI does not load its prior and its UNet"
    ),
    ComparedMethod(
        "versatile-diffusion",
        "Versatile Diffusion",
        "Versatile Diffusion",
        cannot="ComfyUI does not load its UNet of several flows",
    ),
)
