"""Model files of the tests' own: small open_clip encoders, an adapter for one, and files that are no adapter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from tools.environment import LAYOUT
from tools.standins.adapters import image_attention_shapes
from tools.standins.flux import HEAD, SMALL, CharacterShape, FluxShape, character_shapes, flux_model
from tools.standins.formats import write
from tools.standins.models import vae_state
from tools.standins.noise import Noise, fill, shapes_of
from tools.standins.unets import SD15, UNetShape, unet_shapes

VIT_H = "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"  # a stand-in
TOWER, TOWER_WIDTH = "ViT-S-32-alt", 256  # the smallest of open_clip's own, and how wide its embedding is
SMALL_ENCODER, SMALL_ADAPTER = "small_tower.pt", "small_tower.safetensors"
# As wide as ViT-H and of as many patches, so that every adapter for it can read it, in two layers instead of 32.
SHALLOW_ENCODER = "shallow_vit_h.safetensors"
SHALLOW = {
    "embed_dim": 1024,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 1280, "head_width": 80, "patch_size": 14},
}
NARROW_CHARACTER = "narrow_character.bin"  # InstantCharacter's, for the towers of `narrow`
NARROW = Path(__file__).with_name("narrow")
REDUX_FLUX = "two_blocks.safetensors"
FULL_ADAPTER = "ip-adapter_sd15.safetensors"  # a stand-in
RAN = "the pickle ran code"


class RunsCode:
    """What a pickle would hold that makes a folder while it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def write_tower(path: Path) -> None:
    """A whole checkpoint, text side included, as open_clip itself saves it; its weights are fixed noise."""
    import open_clip

    with torch.random.fork_rng(), torch.inference_mode(False):
        torch.manual_seed(2308)
        model = open_clip.create_model(TOWER)
        torch.save(model.state_dict(), path)


def write_shallow_tower(path: Path) -> None:
    """An image tower of fixed noise, which the file beside it describes."""
    from open_clip.model import _build_vision_tower

    with torch.random.fork_rng(), torch.inference_mode(False):
        torch.manual_seed(2308)
        tower = _build_vision_tower(SHALLOW["embed_dim"], SHALLOW["vision_cfg"], False)
        save_file({f"visual.{name}": tensor.half() for name, tensor in tower.state_dict().items()}, path)


def write_description(path: Path) -> None:
    path.write_text(json.dumps({"model_cfg": SHALLOW}))


def write_adapter_for_tower(path: Path, seed: int = 1) -> None:
    shapes = {
        "image_proj.proj.weight": (4 * SD15.context, TOWER_WIDTH),
        "image_proj.proj.bias": (4 * SD15.context,),
        "image_proj.norm.weight": (SD15.context,),
        "image_proj.norm.bias": (SD15.context,),
    }
    save_file(fill({**shapes, **image_attention_shapes(SD15)}, Noise.seeded(seed)), path)


def write_narrow_character(path: Path) -> None:
    """InstantCharacter's adapter for FLUX's stand-in, which reads two towers of 64 channels."""
    shapes = character_shapes(SMALL, CharacterShape(features=128, blocks=1, tokens=16, width=64))
    state = fill(shapes, Noise.seeded(4))
    write(path, {name: torch.ones_like(value) if name.endswith(".scale") else value for name, value in state.items()})


def write_cut_short(path: Path) -> None:
    with (LAYOUT.models / "ipadapter" / FULL_ADAPTER).open("rb") as whole:
        path.write_bytes(whole.read(1_000_000))


def write_empty(path: Path) -> None:
    path.touch()


def write_pickle(path: Path) -> None:
    torch.save({"image_proj": RunsCode(path.with_name(RAN)), "ip_adapter": {}}, path)


def write_lora(path: Path) -> None:
    path.symlink_to(LAYOUT.models / "loras" / "stand-in_sd15.safetensors")


def write_style_model(path: Path) -> None:
    """T2I-Adapter's style adapter, in the one size that the host knows."""
    from comfy.t2i_adapter.adapter import StyleAdapter

    with torch.device("meta"):
        shapes = shapes_of(StyleAdapter(1024, 768, 8, 3, 8))
    save_file(fill(shapes, Noise.seeded(3)), path)


def write_redux(path: Path) -> None:
    """FLUX Redux, in the one size that the host knows."""
    from comfy.ldm.flux.redux import ReduxImageEncoder

    with torch.device("meta"):
        shapes = shapes_of(ReduxImageEncoder())
    save_file(fill(shapes, Noise.seeded(5)), path)


def write_redux_flux(path: Path) -> None:
    """A FLUX of two blocks whose text is as wide as Redux' tokens, and as the stand-in for SD3.5 encodes it."""
    save_file(flux_model(Noise.seeded(6), FluxShape(HEAD, text=4096, double=1, single=1, pooled=2048)), path)


def write_unclip(path: Path) -> None:
    """Stable unCLIP for OpenCLIP ViT-H, with no encoder in it."""
    extra = {"num_head_channels": 64, "use_linear_in_transformer": True, "num_classes": "sequential"}
    depths = (SD15.attention_depths, SD15.attention_depths_out, SD15.middle_depth, SD15.levels)
    unet = unet_shapes(UNetShape(*depths, context=1024, extra={**extra, "adm_in_channels": 2048}))
    noise = Noise.seeded(7)
    save_file({**fill(unet, noise), **vae_state(noise)}, path)


def write_shuffle(path: Path) -> None:
    """Told from another ControlNet by its name alone."""
    path.symlink_to(LAYOUT.models / "controlnet" / "control_v11p_sd15_canny_fp16.safetensors")


def write_variations(path: Path) -> None:
    """What is trained in SD Image Variations has the shapes of SD 1.5."""
    path.symlink_to(LAYOUT.models / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors")


def write_composition(path: Path) -> None:
    """Told from a plus adapter by its name alone."""
    path.symlink_to(LAYOUT.models / "ipadapter" / "ip-adapter-plus_sd15.safetensors")


WRITERS: dict[str, Callable[[Path], None]] = {
    f"clip_vision/{SMALL_ENCODER}": write_tower,
    f"clip_vision/{SHALLOW_ENCODER}": write_shallow_tower,
    f"clip_vision/{Path(SHALLOW_ENCODER).with_suffix('.json')}": write_description,
    f"ipadapter/{SMALL_ADAPTER}": write_adapter_for_tower,
    f"ipadapter/{NARROW_CHARACTER}": write_narrow_character,
    "ipadapter/cut_short.safetensors": write_cut_short,
    "ipadapter/empty.safetensors": write_empty,
    "ipadapter/pickle.bin": write_pickle,
    "ipadapter/lora.safetensors": write_lora,
    "checkpoints/sd21-unclip-h.safetensors": write_unclip,
    f"diffusion_models/{REDUX_FLUX}": write_redux_flux,
    "style_models/flux1-redux-dev.safetensors": write_redux,
    "text_encoders/t5xxl_fp16.safetensors": write_empty,  # to be chosen, never opened
    "checkpoints/sd-clip-vit-l14-img-embed_ema_only.safetensors": write_variations,
    "controlnet/control_v11e_sd15_shuffle.safetensors": write_shuffle,
    "style_models/t2iadapter_style_sd14v1.safetensors": write_style_model,
    "ipadapter/ip_plus_composition_sd15.safetensors": write_composition,
}


def make_files(folder: Path) -> dict[str, Path]:
    """Place below a models folder -> file written for it."""
    files = {place: folder / place.replace("/", "-") for place in WRITERS}
    for place, path in files.items():
        WRITERS[place](path)
    return files
