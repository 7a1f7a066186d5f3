"""The recorded share of an image prompt against one worked out by hand from what diffusers' layers compute."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from pack.ipadapter.attention.packing import POSITIVE
from pack.ipadapter.backbones.known import find_layers
from pack.ipadapter.backbones.unet import UNET
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.strength.strength import Strength
from torch import Tensor

from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with, roles_by_cfg
from tests.small import SD15, SHALLOW_SDXL, make_pair
from tests.world import Settings, adapter_file, host_adapter, sample

TOLERANCE = 1e-5
HEIGHT, WIDTH = 16, 24


@contextmanager
def overheard(unet):
    """What every projection of every cross-attention layer puts out, call by call: (layer, name) to tensors."""
    heard: dict[tuple[int, str], list[Tensor]] = {}
    layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
    handles = []
    for index, layer in enumerate(layers):
        modules = {"q": layer.to_q, "k": layer.to_k, "v": layer.to_v}
        modules |= {f"k{n}": module for n, module in enumerate(layer.processor.to_k_ip)}
        modules |= {f"v{n}": module for n, module in enumerate(layer.processor.to_v_ip)}
        for name, module in modules.items():
            note = heard.setdefault((index, name), []).append
            handles.append(module.register_forward_hook(lambda _, __, out, note=note: note(out.detach().clone())))
    yield heard, [layer.heads for layer in layers]
    for handle in handles:
        handle.remove()


def attention(query: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """softmax(Q Kᵀ / √d) V, (b, L, C)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, keys, values))
    scores = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
    return (scores @ v).transpose(1, 2).flatten(2)


def expected(calls, layout, files, prompts, weights) -> list[dict[str, Tensor]]:
    """By call and level: (1 + prompts, B, h, w)."""
    reference = reference_with(layout, files, weights)
    embeds = [prompt.parts[0].positive.image_embeds for prompt in prompts]
    given = [Features(one, torch.zeros_like(one)) for one in embeds]
    return [shares_of_call(reference, call, given, weights, layout) for call in calls]


def shares_of_call(reference, call, given, weights, layout) -> dict[str, Tensor]:
    roles = roles_by_cfg(call)
    with overheard(reference.unet) as (heard, heads):
        reference.noise(call, roles, given)
    row, found = roles.index(POSITIVE), {}
    levels = UNET.levels_of(layers := find_layers(make_pair(layout).host.model.diffusion_model))
    for index, layer in enumerate(layers):
        at = {name: outs[row] for (number, name), outs in heard.items() if number == index}
        text = attention(at["q"], at["k"], at["v"], heads[index])
        images = [
            weight * attention(at["q"], at[f"k{n}"].flatten(0, -3), at[f"v{n}"].flatten(0, -3), heads[index])
            for n, weight in enumerate(weights)
        ]
        stacked = torch.stack([share(text, image) for image in (sum(images), *images)])
        found.setdefault(levels[layer.place[:2]], []).append(on_the_picture(stacked))
    return {level: torch.stack(shares).mean(0) for level, shares in found.items()}


def share(text: Tensor, image: Tensor) -> Tensor:
    return image.norm(dim=-1) / (text.norm(dim=-1) + image.norm(dim=-1))


def on_the_picture(shares: Tensor) -> Tensor:
    """(n, b, L) to (n, b, h, w)."""
    scale = round((HEIGHT * WIDTH / shares.shape[-1]) ** 0.5)
    return shares.unflatten(-1, (HEIGHT // scale, WIDTH // scale))


def record(layout, settings, weights):
    """A recorded run of one adapter for each weight, and what is expected of it."""
    files = [adapter_file(layout, "base", seed) for seed, _ in enumerate(weights, 1)]
    prompts = [image_prompt(seed=seed) for seed, _ in enumerate(weights, 5)]
    model = make_pair(layout).host
    for file, prompt, weight in zip(files, prompts, weights, strict=True):
        model = apply_image_prompt(model, host_adapter(file), prompt, Strength(weight))
    recorded, kept = record_image_prompt(model)
    _, calls = sample(recorded, layout, settings)
    return kept.maps, expected(calls, layout, files, prompts, weights)


def worst(maps, steps: list[dict[str, Tensor]]) -> float:
    assert maps.steps == len(steps)
    assert maps.shares.keys() == {(level, step) for step, levels in enumerate(steps) for level in levels}
    return max(
        (maps.shares[level, step] - shares).abs().max().item()
        for step, levels in enumerate(steps)
        for level, shares in levels.items()
    )


@pytest.mark.parametrize("weights", [[1.0], [2.0], [-0.7], [0.6, 0.9]], ids=str)
def test_the_recorded_share_is_that_of_the_formula(weights):
    maps, steps = record(SD15, Settings(size=(HEIGHT, WIDTH), batch=2), weights)
    assert worst(maps, steps) <= TOLERANCE


def test_the_recorded_share_is_that_of_the_formula_on_sdxl_without_guidance():
    maps, steps = record(SHALLOW_SDXL, Settings(size=(HEIGHT, WIDTH), steps=1, cfg=1.0), [0.8])
    assert worst(maps, steps) <= TOLERANCE


def test_the_calls_of_a_step_are_averaged():
    maps, calls = record(SD15, Settings(size=(HEIGHT, WIDTH), steps=3, sampler="heun"), [1.0])
    assert len(calls) == 5
    steps = [calls[:2], calls[2:4], calls[4:]]
    averaged = [{level: torch.stack([call[level] for call in step]).mean(0) for level in step[0]} for step in steps]
    assert worst(maps, averaged) <= TOLERANCE
