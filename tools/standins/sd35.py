"""SD3.5 Large with few blocks, and what goes beside it.

The host makes such a model 64 channels wide a block, so that one with all 38 blocks has its public width, and
gigabytes. With two it is opened as the same model, of which blocks were taken out.
"""

from __future__ import annotations

import torch

from .adapters import linear, timed_resampler
from .models import clip_l_state, vae_state
from .noise import Noise, Shapes, State, fill, shapes_of

BLOCKS, HEAD = 2, 64  # HEAD channels of width a block
LATENT_CHANNELS, POOLED, TEXT = 16, 2048, 4096  # of both CLIPs, and of T5-XXL, to which shorter texts are filled up
PLACES = 96  # of the position embedding along a side
TOKENS, SIGLIP_HIDDEN = 64, 1152
DIM = 128  # of the Resampler, in place of 1280


def sd35_config(blocks: int = BLOCKS) -> dict[str, object]:
    """The host's keyword arguments for its MMDiT, as it reads them from a file."""
    return {
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "patch_size": 2,
        "depth": blocks,
        "input_size": None,
        "adm_in_channels": POOLED,
        "qk_norm": "rms",
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": TEXT, "out_features": HEAD * blocks},
        },
        "num_patches": PLACES**2,
        "pos_embed_max_size": PLACES,
    }


def sd35_checkpoint(noise: Noise) -> State:
    """What Load Checkpoint opens as SD3.5, with CLIP-L's text alone: the host does without the two others."""
    from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
    from comfy.ops import manual_cast

    model = MMDiT(device="meta", dtype=torch.float16, operations=manual_cast, **sd35_config())
    transformer = fill(shapes_of(model, "model.diffusion_model."), noise)
    text = clip_l_state(noise, "text_encoders.clip_l.transformer.")
    return {**transformer, **text, **vae_state(noise, channels=LATENT_CHANNELS)}


def sd35_adapter(noise: Noise) -> State:
    """InstantX's adapter for the model above."""
    return fill(sd35_adapter_shapes(), noise)


def sd35_adapter_shapes(blocks: int = BLOCKS) -> Shapes:
    """SigLIP's hidden states and the noise level -> 64 tokens, and in each block their keys, values and norms."""
    width = HEAD * blocks
    shapes = timed_resampler(width, DIM, SIGLIP_HIDDEN, TOKENS)
    for index in range(blocks):
        shapes |= timed_block(f"ip_adapter.{index}.", width)
    return shapes


def timed_block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        **{f"{name}to_{kind}_ip.weight": (width, width) for kind in "kv"},
        **{f"{name}{norm}.weight": (HEAD,) for norm in ("norm_q", "norm_k", "norm_ip_k")},
        **linear(f"{name}norm_ip.linear", 2 * width, DIM),
    }
