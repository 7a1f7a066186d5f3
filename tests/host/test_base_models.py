"""Relatives of the bases are named for what they are, and the advice leads somewhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from pack.ipadapter.adapters.fit import match_layers
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.backbones.bases import PUBLISHED
from pack.ipadapter.backbones.known import find_layers, model_of
from pack.ipadapter.library.catalogue import Survey
from pack.ipadapter.library.description import verdict
from pack.ipadapter.library.finding import ModelTarget, choose_adapter
from pack.ipadapter.library.kinds import PRESETS
from pack.ipadapter.library.published import ADAPTERS

from tests.plain.public import KINDS, checkpoint_of, on_meta
from tests.refusals import refusal


@dataclass(frozen=True)
class Shape:
    """A UNet's layout as the host's detection describes it."""

    context: int
    depth: tuple[int, ...]
    output: tuple[int, ...]
    middle: int
    channels: int = 4
    adm: int | None = None
    levels: tuple[int, ...] = (1, 2, 4)

    @property
    def unet(self) -> UNetModel:
        """The host's own class, without numbers in it."""
        classes = {"num_classes": "sequential", "adm_in_channels": self.adm} if self.adm else {}
        return UNetModel(
            image_size=32,
            in_channels=self.channels,
            out_channels=4,
            model_channels=320,
            num_res_blocks=[len(self.depth) // len(self.levels)] * len(self.levels),
            transformer_depth=list(self.depth),
            transformer_depth_output=list(self.output),
            transformer_depth_middle=self.middle,
            channel_mult=list(self.levels),
            context_dim=self.context,
            num_head_channels=64,
            use_spatial_transformer=True,
            use_linear_in_transformer=True,
            legacy=False,
            device=torch.device("meta"),
            **classes,
        )


def sd(context: int, channels: int = 4, adm: int | None = None) -> Shape:
    return Shape(context, (1,) * 6 + (0, 0), (1,) * 9 + (0,) * 3, 1, channels, adm, (1, 2, 4, 4))


def sdxl(channels: int = 4, adm: int = 2816) -> Shape:
    return Shape(2048, (0, 0, 2, 2, 10, 10), (0, 0, 0, 2, 2, 2, 10, 10, 10), 10, channels, adm)


MODELS = {
    "SD1.5": sd(768),
    "SD1.5 inpainting": sd(768, 9),
    "SD2.1": sd(1024),
    "SD2 inpainting": sd(1024, 9),
    "SD2 depth": sd(1024, 5),
    "SDXL": sdxl(),
    "SDXL inpainting": sdxl(9),
    "SDXL InstructPix2Pix": sdxl(8),
    "Kolors": sdxl(adm=5632),
    "the SDXL refiner": Shape(
        1280, (0, 0, 4, 4, 4, 4, 0, 0), (0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0), 4, adm=2560, levels=(1, 2, 4, 4)
    ),
    "a pruned SDXL (34 of 70 layers, as SSD-1B has)": Shape(
        2048, (0, 0, 2, 2, 4, 4), (0, 0, 0, 1, 1, 2, 10, 4, 4), -1, adm=2816
    ),
    "a pruned SDXL (15 of 70 layers, as Segmind Vega has)": Shape(
        2048, (0, 0, 1, 1, 2, 2), (0, 0, 0, 1, 1, 1, 2, 2, 2), -1, adm=2816
    ),
    "a pruned SDXL (21 of 70 layers, as KOALA-700M has)": Shape(2048, (0, 2, 5), (0, 0, 2, 2, 5, 5), -2, adm=2816),
    "a pruned SDXL (30 of 70 layers, as KOALA-1B has)": Shape(2048, (0, 2, 6), (0, 0, 2, 2, 6, 6), 6, adm=2816),
    "a pruned SD1.5 (9 of 16 layers)": Shape(768, (1, 1, 1, 0), (1, 1, 1, 1, 1, 1, 0, 0), -2, levels=(1, 2, 4, 4)),
}
TAKES = {"SD1.5 inpainting": "SD1.5", "SDXL inpainting": "SDXL", "SDXL InstructPix2Pix": "SDXL"}


def spec_for(base: str):
    name = next(name for name in KINDS if KINDS[name].base == base)
    return identify(checkpoint_of(KINDS[name].tensors(on_meta), name))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_named_for_what_it_is(name):
    unet = MODELS[name].unet
    assert model_of(unet, find_layers(unet)).name == name


@pytest.mark.parametrize("base", PUBLISHED)
@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_fits_or_is_refused_with_advice_that_leads_somewhere(name, base):
    unet, spec = MODELS[name].unet, spec_for(base)
    own = TAKES.get(name, name)
    if own == base:
        assert len(match_layers(spec, unet)) == len(spec.channels)
        assert f"It is {name}," in verdict(spec, unet)
        return
    text, article = refusal(match_layers, spec, unet), "a" if base == "Kolors" or base.startswith("FLUX") else "an"
    assert f"the model is {name} (" in text
    if own in PUBLISHED:
        assert f"use an adapter made for {own}, or {article} {base} model" in text
    else:
        assert f"no adapter is published for {name}, so use {article} {base} model" in text
        assert "made for" not in text


@pytest.mark.parametrize("preset", [PRESETS[0].title, PRESETS[-1].title])
@pytest.mark.parametrize("name", MODELS)
def test_what_find_advises_is_published(name, preset):
    unet = MODELS[name].unet
    layers = find_layers(unet)
    target = ModelTarget(layers, model_of(unet, layers))
    chosen = next(one for one in PRESETS if one.title == preset)
    text = refusal(choose_adapter, chosen, target, Survey((), ()), ["here"])
    assert f"for this {f'model, {name},' if name.startswith(('a ', 'the ')) else f'{name} model'} in" in text
    told = [adapter for adapter in ADAPTERS if adapter.name in text]
    assert all(adapter.base == TAKES.get(name, name) for adapter in told)
    assert bool(told) or "published for" in text
    assert ("no adapter is published for it" in text) == (TAKES.get(name, name) not in PUBLISHED)


def test_the_bases_that_adapters_are_published_for_are_those_of_the_list():
    assert {adapter.base for adapter in ADAPTERS} == set(PUBLISHED)
