"""One sampling run through the host's real guiders and samplers, every model call recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from pack.ipadapter.adapters.checkpoint import Checkpoint
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import load_adapter
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.host.adapters.adapter import Adapter, hand_over
from torch import Tensor

from tests.adapters import AdapterFile, kohya, random_adapter
from tests.small import POOLED, SD15, Layout, reference_unet


def channels_of(layout: Layout) -> tuple[int, ...]:
    """Width of every cross-attention layer in the reference's order: down, up, middle."""
    levels = list(zip(layout.channels, layout.depth, strict=True))
    down = [c for c, d in levels for _ in range(d * layout.res_blocks)]
    up = [c for c, d in reversed(levels) for _ in range(d * (layout.res_blocks + 1))]
    return (*down, *up, *[layout.channels[-1]] * max(layout.depth[-1], 1))


@lru_cache(maxsize=2)
def adapter_file(layout: Layout, family: str, seed: int = 1, **sizes: int) -> AdapterFile:
    """A random adapter that fits a layout; the latest are kept, because a test seldom asks for another."""
    return random_adapter(family, channels_of(layout), layout.context_dim, seed, **sizes)


def lora_file(file: AdapterFile, layout: Layout | None = None) -> dict[str, Tensor]:
    """The LoRA of a FaceID adapter as a file of its own."""
    return kohya(file, list(reference_unet(layout or SD15).attn_processors))


def host_adapter(file: AdapterFile, name: str = "ip-adapter_test.safetensors") -> Adapter:
    """The pack's object for a random adapter, weights under the host's memory management."""
    import comfy.ops

    checkpoint = Checkpoint(name, dict(file.image_proj), dict(file.ip_adapter), {})
    return hand_over(load_adapter(checkpoint, identify(checkpoint), comfy.ops.manual_cast), Provenance())


@dataclass(frozen=True)
class Call:
    """One call of the UNet as the host made it."""

    x: Tensor  # scaled as the UNet reads it
    timestep: Tensor
    context: Tensor
    y: Tensor | None
    cond_or_uncond: list[int]
    uuids: list[Any]
    control: dict[str, list[Tensor | None]]
    output: Tensor


@dataclass
class Recorder:
    """A wrapper around the UNet that sees every call and what came of it."""

    calls: list[Call] = field(default_factory=list)

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        y: Tensor | None,
        control: dict[str, list[Tensor | None]] | None,
        options: dict[str, Any],
        **kwargs: Any,
    ) -> Tensor:
        rows = (list(options["cond_or_uncond"]), list(options["uuids"]))
        given = (x.clone(), timestep.clone(), context.clone(), None if y is None else y.clone())
        residuals = {name: list(tensors) for name, tensors in (control or {}).items()}  # the UNet empties its lists
        out = executor(x, timestep, context, y, control, options, **kwargs)
        self.calls.append(Call(*given, *rows, residuals, out.clone()))
        return out


def conditioning(layout: Layout, seed: int, tokens: int = 7) -> list:
    """A random text conditioning in the host's form."""
    generator = torch.Generator().manual_seed(seed)
    extra = {"pooled_output": torch.randn(1, POOLED, generator=generator)} if layout.adm else {}
    return [[torch.randn(1, tokens, layout.context_dim, generator=generator), extra]]


@dataclass(frozen=True)
class Settings:
    """A sampling run."""

    steps: int = 2
    cfg: float = 7.5
    sampler: str = "euler"
    batch: int = 1
    size: tuple[int, int] = (16, 16)
    denoise: float = 1.0
    seed: int = 7


DEFAULTS = Settings()
# For models of few levels where numbers are compared: at the fourth level a norm over one cell is all rounding.
SMALLEST = Settings(size=(8, 8))
LEVELS_OF_THE_SMALLEST = 2


def usual_settings(layout: Layout) -> Settings:
    """As small a run as such a model shows its numbers in."""
    return SMALLEST if len(layout.channels) <= LEVELS_OF_THE_SMALLEST else DEFAULTS


def noise_for(settings: Settings, channels: int = 4) -> Tensor:
    """The run's noise."""
    return torch.randn(settings.batch, channels, *settings.size, generator=torch.Generator().manual_seed(settings.seed))


def sample(
    model: Any,
    layout: Layout,
    settings: Settings | None = None,
    latent: Tensor | None = None,
    noise_mask: Tensor | None = None,
    conds: tuple[Any, Any] | None = None,
) -> tuple[Tensor, list[Call]]:
    """Sample, and record every model call."""
    recorder = Recorder()
    recorded = model.clone()
    recorded.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "recorder", recorder)
    return picture(recorded, layout, settings, latent, noise_mask, conds), recorder.calls


def see_progress(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
    """What the node shows of a run; a run that nobody follows does less on some versions of the host."""


def picture(
    model: Any,
    layout: Layout,
    settings: Settings | None = None,
    latent: Tensor | None = None,
    noise_mask: Tensor | None = None,
    conds: tuple[Any, Any] | None = None,
) -> Tensor:
    """Sample as the host's KSampler node does."""
    conds = conds or (conditioning(layout, 11), conditioning(layout, 12))
    return sampled(model, settings or usual_settings(layout), conds, latent=latent, noise_mask=noise_mask)


def sampled(
    model: Any,
    settings: Settings,
    conds: tuple[Any, Any],
    channels: int = 4,
    scheduler: str = "normal",
    latent: Tensor | None = None,
    noise_mask: Tensor | None = None,
) -> Tensor:
    """The same with latents of any kind."""
    noise = noise_for(settings, channels)
    return comfy.sample.sample(
        model,
        noise,
        settings.steps,
        settings.cfg,
        settings.sampler,
        scheduler,
        *conds,
        torch.zeros_like(noise) if latent is None else latent,
        denoise=settings.denoise,
        noise_mask=noise_mask,
        callback=see_progress,
        disable_pbar=True,
        seed=settings.seed,
    )


def predict(model: Any, call: Call) -> Tensor:
    """The UNet's output for a recorded call, made outside any run; the host's 0 is the conditional."""
    recorder = Recorder()
    recorded = model.clone()
    recorded.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "recorder", recorder)
    options = recorded.model_options["transformer_options"] | {"wrappers": recorded.wrappers}
    options |= {"cond_or_uncond": call.cond_or_uncond, "uuids": call.uuids}
    sigma = recorded.model.model_sampling.sigma(call.timestep)
    x = call.x * (sigma**2 + 1).sqrt().view(-1, 1, 1, 1)
    recorded.model.apply_model(x, sigma, c_crossattn=call.context, transformer_options=options)
    return recorder.calls[0].output


def windowed(model: Any, length: int, dim: int = 0) -> Any:
    """A model that the host calls with some pictures (0), rows (2) or columns (3) at a time."""
    known = {one.id for one in ContextWindowsManualNode.define_schema().inputs}
    whole = {"causal_window_fix": False} if "causal_window_fix" in known else {}  # no frame of another window beside
    return ContextWindowsManualNode.execute(
        model, length, 0, "standard_static", 1, False, "flat", dim, False, **whole
    ).result[0]
