"""Small random models under their public file names, which the host's own loaders accept.

For trying the plumbing where no real weights are at hand: every tensor a loader expects is there, in fp16, and nothing
in them was ever trained. The UNets have the right number of cross-attention layers (16 for SD1.5, 70 for SDXL) but 320
channels at every level; the adapters fit them. Encoders keep their full shape, because the host allows no other.

    python -m tools.standins sd15|sdxl|all
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from tools.environment import LAYOUT

if TYPE_CHECKING:
    import onnx

# Changes when the tensors below do, so that files of an older recipe are made again.
RECIPE, RECIPE_KEY = "1", "stand_in_recipe"
SEED = 2308
CHANNELS = 320
NOISE_LENGTH = 4_194_301  # a prime: rows of a tensor longer than the noise do not repeat
LORA_RANK, FACE_LORA_RANK = 4, 128

State = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class UNetShape:
    """A UNet of the host with 320 channels at every level."""

    attention_depths: tuple[int, ...]  # transformer blocks after each residual block on the way down
    attention_depths_out: tuple[int, ...]  # the same on the way up, first level last
    middle_depth: int
    levels: int
    context: int
    extra: Mapping[str, object] = field(default_factory=dict)

    def config(self) -> dict[str, object]:
        """The host's keyword arguments for its UNetModel and ControlNet."""
        return {
            "image_size": 32,
            "in_channels": 4,
            "model_channels": CHANNELS,
            "num_res_blocks": [2] * self.levels,
            "channel_mult": [1] * self.levels,
            "transformer_depth": list(self.attention_depths),
            "transformer_depth_output": list(self.attention_depths_out),
            "transformer_depth_middle": self.middle_depth,
            "context_dim": self.context,
            "use_spatial_transformer": True,
            "legacy": False,
            **self.extra,
        }

    @property
    def cross_attention_layers(self) -> int:
        return sum(self.attention_depths) + sum(self.attention_depths_out) + self.middle_depth


SD15 = UNetShape((1, 1, 1, 1, 1, 1, 0, 0), (1,) * 9 + (0,) * 3, 1, 4, 768, {"num_heads": 8})
SDXL = UNetShape(
    (0, 0, 2, 2, 10, 10),
    (0, 0, 0, 2, 2, 2, 10, 10, 10),
    10,
    3,
    2048,
    {
        "num_head_channels": 64,
        "use_linear_in_transformer": True,
        "num_classes": "sequential",
        "adm_in_channels": 2816,
    },
)


@dataclass(frozen=True)
class Noise:
    """Fixed Gaussian noise, from which any tensor is cut at a place its name decides."""

    values: torch.Tensor

    @classmethod
    def seeded(cls, seed: int) -> Noise:
        return cls(torch.randn(NOISE_LENGTH, generator=torch.Generator().manual_seed(seed)))

    def cut(self, name: str, shape: tuple[int, ...], deviation: float) -> torch.Tensor:
        """fp16 noise of this shape and standard deviation, the same for the same name."""
        count = torch.Size(shape).numel()
        start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % NOISE_LENGTH
        whole, rest = divmod(start + count, NOISE_LENGTH)
        pieces = [self.values] * whole + [self.values[:rest]]
        pieces[0] = pieces[0][start:]
        return torch.cat([piece.mul(deviation).half() for piece in pieces]).reshape(shape)


def is_norm_weight(name: str, shape: tuple[int, ...]) -> bool:
    return name.endswith("weight") and len(shape) == 1


def fan_in(shape: tuple[int, ...]) -> int:
    return torch.Size(shape[1:]).numel()


def fill(shapes: Shapes, noise: Noise) -> State:
    """Random tensors that keep activations near unit size: ones for norms, small biases, 1/sqrt(fan-in) otherwise."""
    return {name: fill_one(name, shape, noise) for name, shape in shapes.items()}


def fill_one(name: str, shape: tuple[int, ...], noise: Noise) -> torch.Tensor:
    if is_norm_weight(name, shape):
        return torch.ones(shape, dtype=torch.float16)
    if len(shape) < 2:
        return noise.cut(name, shape, 0.02)
    if "embedding" in name and "patch" not in name:
        return noise.cut(name, shape, 0.1)
    return noise.cut(name, shape, fan_in(shape) ** -0.5)


def shapes_of(module: torch.nn.Module, prefix: str = "", skip: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    return {
        prefix + name: tuple(tensor.shape)
        for name, tensor in module.state_dict().items()
        if not name.endswith(skip or ("\0",))
    }


def unet_shapes(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(out_channels=4, device="meta", dtype=torch.float16, **shape.config())
    return shapes_of(unet, "model.diffusion_model.")


def vae_state(noise: Noise) -> State:
    """The host's smallest autoencoder (TAESD), its last layer tamed so that pictures stay between black and white."""
    from comfy.taesd.taesd import TAESD

    with torch.device("meta"):
        shapes = shapes_of(TAESD(), "first_stage_model.", ("vae_scale", "vae_shift"))
    state = fill(shapes, noise)
    last = [name for name in state if "decoder" in name][-1].rpartition(".")[0]
    weight = state[f"{last}.weight"].float()
    # What comes in is never negative, so weights of mean zero are what keeps the channels around mid-grey.
    state[f"{last}.weight"] = ((weight - weight.mean((1, 2, 3), keepdim=True)) * 0.15).half()
    state[f"{last}.bias"] = torch.full_like(state[f"{last}.bias"], 0.5)
    scalars = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    return {**state, **{f"first_stage_model.{name}": value.half() for name, value in scalars.items()}}


def clip_l_state(noise: Noise, prefix: str) -> State:
    """CLIP-L's text model, without the projection that checkpoints leave out."""
    from comfy.sd1_clip import SDClipModel

    text = SDClipModel(device="meta", dtype=torch.float16)
    return fill(shapes_of(text.transformer.text_model, f"{prefix}transformer.text_model."), noise)


def clip_g_state(noise: Noise) -> State:
    """CLIP-bigG's text model under the names an SDXL checkpoint has for it."""
    from comfy.diffusers_convert import convert_text_enc_state_dict_v20
    from comfy.sdxl_clip import SDXLClipG
    from comfy.utils import state_dict_prefix_replace

    text = SDXLClipG(device="meta", dtype=torch.float16)
    state = fill(shapes_of(text.transformer, "clip_g.transformer."), noise)
    converted = convert_text_enc_state_dict_v20(state, "clip_g")
    return state_dict_prefix_replace(converted, {"clip_g": "conditioner.embedders.1.model"})


def sd15_checkpoint(noise: Noise) -> State:
    unet = fill(unet_shapes(SD15), noise)
    return {**unet, **vae_state(noise), **clip_l_state(noise, "cond_stage_model.")}


def sdxl_checkpoint(noise: Noise) -> State:
    unet = fill(unet_shapes(SDXL), noise)
    text = {**clip_l_state(noise, "conditioner.embedders.0."), **clip_g_state(noise)}
    return {**unet, **vae_state(noise), **text}


def sd15_controlnet(noise: Noise) -> State:
    """A ControlNet for the UNet above, its zero convolutions made weak instead of zero."""
    from comfy.cldm.cldm import ControlNet

    net = ControlNet(hint_channels=3, device="meta", dtype=torch.float16, **SD15.config())
    state = fill(shapes_of(net), noise)
    return {name: value * 0.2 if name.startswith(("zero_convs", "middle_block_out")) else value
            for name, value in state.items()}  # fmt: skip


def sd15_t2i_adapter(noise: Noise) -> State:
    """A light T2I-Adapter. The host fixes its widths to 320, 640, 1280, 1280, so here its first level alone fits."""
    from comfy.t2i_adapter.adapter import Adapter_light

    with torch.device("meta"):
        shapes = shapes_of(Adapter_light(cin=64, nums_rb=4))
    return {name: value * 0.5 for name, value in fill(shapes, noise).items()}


def sd15_lora(noise: Noise) -> State:
    """Rank-4 changes to every attention projection of the UNet above."""
    from comfy.utils import unet_to_diffusers

    weights = unet_shapes(SD15)
    state: State = {}
    for theirs, ours in unet_to_diffusers(SD15.config()).items():
        if ".attn" in ours and ours.endswith("weight"):
            rows, columns = weights["model.diffusion_model." + ours]
            name = "lora_unet_" + theirs.removesuffix(".weight").replace(".", "_")
            state |= lora_pair(name, rows, columns, noise)
    return state


def lora_pair(name: str, rows: int, columns: int, noise: Noise) -> State:
    shapes = {f"{name}.lora_down.weight": (LORA_RANK, columns), f"{name}.lora_up.weight": (rows, LORA_RANK)}
    return {**fill(shapes, noise), f"{name}.alpha": torch.tensor(float(LORA_RANK) / 2).half()}


def vit_h(noise: Noise) -> State:
    """The image tower of OpenCLIP ViT-H/14 in the layout of transformers."""
    import comfy.clip_vision
    from comfy.clip_model import CLIPVisionModelProjection
    from comfy.ops import manual_cast

    config = json.loads((Path(comfy.clip_vision.__file__).parent / "clip_vision_config_h.json").read_text())
    with torch.device("meta"):
        encoder = CLIPVisionModelProjection(config, torch.float16, "meta", manual_cast)
    return fill(shapes_of(encoder), noise)


def image_attention_shapes(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """`ip_adapter` of an adapter file: numbers 1, 3, 5 ... over the cross-attention layers."""
    numbers = range(1, 2 * shape.cross_attention_layers, 2)
    size = (CHANNELS, shape.context)
    return {f"ip_adapter.{n}.to_{kind}_ip.weight": size for n in numbers for kind in "kv"}


def standard_projection(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """Pooled ViT-H feature (1024) -> 4 image tokens."""
    return {
        "image_proj.proj.weight": (4 * shape.context, 1024),
        "image_proj.proj.bias": (4 * shape.context,),
        "image_proj.norm.weight": (shape.context,),
        "image_proj.norm.bias": (shape.context,),
    }


def full_projection(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """Every ViT-H token (257 of 1280) -> as many image tokens."""
    sizes = {"proj.0.weight": (1280, 1280), "proj.0.bias": (1280,), "proj.2.weight": (shape.context, 1280)}
    norms = {"proj.2.bias": (shape.context,), "proj.3.weight": (shape.context,), "proj.3.bias": (shape.context,)}
    return {f"image_proj.{name}": size for name, size in {**sizes, **norms}.items()}


def face_plus_projection(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """An ArcFace embedding (512) -> 4 image tokens, which read ViT-H tokens through four perceiver layers."""
    width, perceiver = shape.context, "image_proj.perceiver_resampler."
    first = {"proj.0.weight": (1024, 512), "proj.0.bias": (1024,), "proj.2.weight": (4 * width, 1024)}
    rest = {"proj.2.bias": (4 * width,), "norm.weight": (width,), "norm.bias": (width,)}
    queries = "image_proj.latents"
    resampler = {name: size for name, size in resampler_projection(shape, width).items() if name != queries}
    return {
        **{f"image_proj.{name}": size for name, size in {**first, **rest}.items()},
        **{name.replace("image_proj.", perceiver): size for name, size in resampler.items()},
    }


def face_lora(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """The rank-128 LoRA of FaceID files: even numbers are self-attention, odd ones cross-attention."""
    sizes: dict[str, tuple[int, ...]] = {}
    for n in range(2 * shape.cross_attention_layers):
        for name in ("q", "k", "v", "out"):
            columns = shape.context if n % 2 and name in "kv" else CHANNELS
            sizes[f"ip_adapter.{n}.to_{name}_lora.down.weight"] = (FACE_LORA_RANK, columns)
            sizes[f"ip_adapter.{n}.to_{name}_lora.up.weight"] = (CHANNELS, FACE_LORA_RANK)
    return sizes


def face_adapter(noise: Noise) -> State:
    """FaceID Plus, its LoRA made weak so that a random model stays itself."""
    state = adapter(SD15, {**face_plus_projection(SD15), **face_lora(SD15)})(noise)
    return {name: tensor * 0.1 if "lora.up" in name else tensor for name, tensor in state.items()}


def face_detector(noise: Noise) -> onnx.ModelProto:
    """What finds the faces that `tests/faces.py` draws."""
    from tools.face_standins import detector

    return detector()


def face_recogniser(noise: Noise) -> onnx.ModelProto:
    """Face embeddings of random weights."""
    from tools.face_standins import recogniser

    return recogniser(noise)


def resampler_layer(index: int, width: int) -> dict[str, tuple[int, ...]]:
    attention, feed_forward = f"image_proj.layers.{index}.0.", f"image_proj.layers.{index}.1."
    norms = {f"{attention}norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
    return {
        **norms,
        f"{attention}to_q.weight": (width, width),
        f"{attention}to_kv.weight": (2 * width, width),
        f"{attention}to_out.weight": (width, width),
        f"{feed_forward}0.weight": (width,),
        f"{feed_forward}0.bias": (width,),
        f"{feed_forward}1.weight": (4 * width, width),
        f"{feed_forward}3.weight": (width, 4 * width),
    }


def resampler_projection(shape: UNetShape, width: int) -> dict[str, tuple[int, ...]]:
    """Penultimate ViT-H tokens (257 of 1280) -> 16 image tokens, through four perceiver layers of this width."""
    layers: dict[str, tuple[int, ...]] = {}
    for index in range(4):
        layers |= resampler_layer(index, width)
    ends = {
        "latents": (1, 16, width),
        "proj_in.weight": (width, 1280),
        "proj_in.bias": (width,),
        "proj_out.weight": (shape.context, width),
        "proj_out.bias": (shape.context,),
        "norm_out.weight": (shape.context,),
        "norm_out.bias": (shape.context,),
    }
    return {**{f"image_proj.{name}": size for name, size in ends.items()}, **layers}


def adapter(shape: UNetShape, projection: Shapes) -> Callable[[Noise], State]:
    return lambda noise: fill({**projection, **image_attention_shapes(shape)}, noise)


@dataclass(frozen=True)
class StandIn:
    """One file: where it goes below the models folder, which sets need it, and how it is made."""

    path: str
    sets: tuple[str, ...]
    make: Callable[[Noise], Any]  # what its ending's format writes

    @property
    def seed(self) -> int:
        """Its own, so that no file depends on which others are made."""
        return SEED + int.from_bytes(hashlib.sha256(self.path.encode()).digest()[:4], "big")


STAND_INS = (
    StandIn("checkpoints/v1-5-pruned-emaonly-fp16.safetensors", ("sd15",), sd15_checkpoint),
    StandIn("clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", ("sd15", "sdxl"), vit_h),
    StandIn("ipadapter/ip-adapter_sd15.safetensors", ("sd15",), adapter(SD15, standard_projection(SD15))),
    StandIn("ipadapter/ip-adapter-plus_sd15.safetensors", ("sd15",), adapter(SD15, resampler_projection(SD15, 768))),
    StandIn("ipadapter/ip-adapter-full-face_sd15.safetensors", ("sd15",), adapter(SD15, full_projection(SD15))),
    StandIn("ipadapter/ip-adapter-faceid-plusv2_sd15.bin", ("sd15",), face_adapter),
    StandIn("insightface/models/buffalo_l/det_10g.onnx", ("sd15", "sdxl"), face_detector),
    StandIn("insightface/models/buffalo_l/w600k_r50.onnx", ("sd15", "sdxl"), face_recogniser),
    StandIn("controlnet/control_v11p_sd15_canny_fp16.safetensors", ("sd15",), sd15_controlnet),
    StandIn("controlnet/t2iadapter_canny_sd15v2.safetensors", ("sd15",), sd15_t2i_adapter),
    StandIn("loras/stand-in_sd15.safetensors", ("sd15",), sd15_lora),
    StandIn("checkpoints/sd_xl_base_1.0.safetensors", ("sdxl",), sdxl_checkpoint),
    StandIn("ipadapter/ip-adapter_sdxl_vit-h.safetensors", ("sdxl",), adapter(SDXL, standard_projection(SDXL))),
    StandIn(
        "ipadapter/ip-adapter-plus_sdxl_vit-h.safetensors", ("sdxl",), adapter(SDXL, resampler_projection(SDXL, 1280))
    ),
)
SETS: dict[str, tuple[StandIn, ...]] = {
    "sd15": tuple(one for one in STAND_INS if "sd15" in one.sets),
    "sdxl": tuple(one for one in STAND_INS if "sdxl" in one.sets),
    "all": STAND_INS,
}


@dataclass(frozen=True)
class Format:
    """Files of one kind: how they are saved, and what they say of themselves, or None where they are not whole."""

    save: Callable[[Any, Path], None]
    metadata: Callable[[Path], Mapping[str, str] | None]


def save_state(state: State, path: Path) -> None:
    save_file(state, path, {"format": "pt", RECIPE_KEY: RECIPE})


def state_metadata(path: Path) -> Mapping[str, str] | None:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return None


def save_torch(state: State, path: Path) -> None:
    """Nested by the first part of the names, as the public files of this kind are."""
    nested: dict[str, Any] = {RECIPE_KEY: RECIPE}
    for name, tensor in state.items():
        group, _, key = name.partition(".")
        nested.setdefault(group, {})[key] = tensor
    torch.save(nested, path)


def torch_metadata(path: Path) -> Mapping[str, str] | None:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {key: value for key, value in loaded.items() if isinstance(value, str)}
    except Exception:  # whatever a damaged file leads the unpickler to
        return None


def save_model(model: onnx.ModelProto, path: Path) -> None:
    from onnx.helper import set_model_props

    set_model_props(model, {RECIPE_KEY: RECIPE})
    path.write_bytes(model.SerializeToString())


def model_metadata(path: Path) -> Mapping[str, str] | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError:
        return None
    if not model.graph.node:  # an empty file is a valid model of nothing
        return None
    return {entry.key: entry.value for entry in model.metadata_props}


FORMATS = {
    ".safetensors": Format(save_state, state_metadata),
    ".bin": Format(save_torch, torch_metadata),
    ".onnx": Format(save_model, model_metadata),
}


def is_there(path: Path) -> bool:
    """Whether the file needs no making: it is a stand-in of this recipe, or a real model somebody put there."""
    if not path.is_file():
        return False
    metadata = FORMATS[path.suffix].metadata(path)
    return metadata is not None and metadata.get(RECIPE_KEY, RECIPE) == RECIPE


def write(path: Path, content: Any) -> None:
    """Save under another name first, so that a file with the right name is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        FORMATS[path.suffix].save(content, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def use_host(host: Path) -> None:
    """Make the host's modules importable, and have it look for no accelerator."""
    if str(host) not in sys.path:
        sys.path.insert(0, str(host))
    from comfy.cli_args import args

    args.cpu = True


@dataclass(frozen=True)
class Made:
    """What was just written."""

    path: Path
    size: int  # bytes
    seconds: float


def missing(stand_ins: Iterable[StandIn], models: Path) -> list[StandIn]:
    return [one for one in stand_ins if not is_there(models / one.path)]


def make(stand_ins: Iterable[StandIn], models: Path, host: Path) -> Iterator[Made]:
    """Write those that are missing below `models`, one at a time; yields each as it is done."""
    wanted = missing(stand_ins, models)
    if wanted:
        use_host(host)
    for one in wanted:
        started = time.perf_counter()
        write(models / one.path, one.make(Noise.seeded(one.seed)))
        yield Made(models / one.path, (models / one.path).stat().st_size, time.perf_counter() - started)


def make_set(name: str) -> None:
    """Make a set of SETS in this checkout, telling about each file."""
    for made in make(SETS[name], LAYOUT.models, LAYOUT.host):
        place = made.path.relative_to(LAYOUT.models)
        print(f"  {place}  {made.size / 1e6:,.0f} MB of random weights in {made.seconds:.1f} s", flush=True)


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "all"
    if name not in SETS:
        print(f"error: there is no set of stand-ins named {name!r}: use one of {', '.join(SETS)}.", file=sys.stderr)
        return 2
    make_set(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
