"""Adapter files of every family with dynamic VRAM: loaded, applied, described and written as without."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from pack.ipadapter.host.adapters.adapter import Adapter, load_adapter_file
from pack.ipadapter.host.adapters.describing import describe_loaded
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.adapters import LAYERS, PROJECTIONS, WITH_LORA
from tests.dynamic.vram import both_ways, is_lazy
from tests.flux import flux_adapter, flux_picture, flux_prompt, make_flux
from tests.image_prompts import face_prompt, image_prompt
from tests.plain.public import write_safetensors, write_torch
from tests.refusals import refusal
from tests.sd3 import make_sd3, sd3_adapter, sd3_picture, sd3_prompt
from tests.small import SD15, SDXL, host_model, reference_weights
from tests.world import Settings, adapter_file, picture

OF_A_UNET = [family for family in PROJECTIONS if family not in (*LAYERS, "InstantID")]  # the unnorm portrait's tensors
DRAWN = [(family, SDXL if family == "FaceID Portrait unnorm" else SD15) for family in OF_A_UNET]
DRAWN += [("plus", SDXL)]
ONE_STEP = Settings(steps=1)
WRITERS = {
    ".safetensors": lambda path, file: write_safetensors(path, file.flat()),
    ".bin": lambda path, file: write_torch(path, file.nested),
}


def written(folder, family: str, layout=SD15, ending: str = ".safetensors"):
    return WRITERS[ending](folder / f"adapter{ending}", adapter_file(layout, family))


@cache
def model(layout, lazy: bool):
    """As a loader makes it: built, and then given a file's weights. One for each way of building."""
    assert is_lazy() == lazy
    return host_model(layout, reference_weights(layout))


def prompt_for(adapter: Adapter):
    return face_prompt() if adapter.spec.reads_face else image_prompt()


def drawn(path, layout=SD15) -> torch.Tensor:
    """A picture of an adapter file on a model, both loaded now."""
    adapter = load_adapter_file(path, path.name)
    applied = apply_image_prompt(model(layout, is_lazy()), adapter, prompt_for(adapter), Strength())
    return picture(applied, layout, ONE_STEP)


def test_the_hosts_layers_have_no_weights_until_they_are_loaded():
    assert is_lazy()


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("family", PROJECTIONS)
def test_a_file_of_every_family_loads_with_all_its_tensors(family, ending, tmp_path):
    path = written(tmp_path, family, ending=ending)
    dynamic, plain = both_ways(lambda: load_adapter_file(path, path.name))
    assert dynamic.spec == plain.spec and describe_loaded(dynamic) == describe_loaded(plain)
    ours, theirs = (adapter.patcher.model.state_dict() for adapter in (dynamic, plain))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert bool(dynamic.patcher.model.lora) == (family in WITH_LORA)


@pytest.mark.parametrize(("family", "layout"), DRAWN, ids=lambda value: getattr(value, "name", value))
def test_every_family_draws_the_picture_it_draws_without(family, layout, tmp_path):
    path = written(tmp_path, family, layout)
    assert torch.equal(*both_ways(lambda: drawn(path, layout)))


@pytest.mark.parametrize("family", LAYERS)
def test_so_do_those_of_transformers(family, tmp_path):
    def draw() -> torch.Tensor:
        of_sd3 = family == "InstantX SD3.5"
        make, prompt, draw = (make_sd3, sd3_prompt, sd3_picture) if of_sd3 else (make_flux, flux_prompt, flux_picture)
        adapter = load_adapter_file(path, path.name)
        return draw(apply_image_prompt(make.__wrapped__(), adapter, prompt(), Strength()))

    path = write_safetensors(
        tmp_path / "adapter.safetensors",
        (sd3_adapter() if family == "InstantX SD3.5" else flux_adapter(family)).flat(),
    )
    assert torch.equal(*both_ways(draw))


def test_a_saved_adapter_is_the_file_it_came_from(tmp_path, output):
    path = written(tmp_path, "FaceID Plus")
    saved = save_to_output(load_adapter_file(path, path.name), "ipadapter/kept")
    assert torch.equal(drawn(saved), drawn(path))


def test_what_is_recorded_is_what_is_recorded_without(tmp_path):
    path = written(tmp_path, "plus")

    def recorded():
        adapter = load_adapter_file(path, path.name)
        recording, record = record_image_prompt(
            apply_image_prompt(model(SD15, is_lazy()), adapter, image_prompt(), Strength())
        )
        picture(recording, SD15, ONE_STEP)
        return record.maps

    dynamic, plain = both_ways(recorded)
    assert dynamic.shares.keys() == plain.shares.keys() != set()
    assert all(torch.equal(dynamic.shares[at], plain.shares[at]) for at in plain.shares)


DAMAGE = {
    "missing": lambda tensors: tensors.pop("ip_adapter.3.to_v_ip.weight"),
    "superfluous": lambda tensors: tensors.update({"image_proj.proj.extra": torch.zeros(1)}),
    "misshapen": lambda tensors: tensors.update({"image_proj.norm.weight": torch.zeros(5)}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_in_the_same_words(damage, tmp_path):
    tensors = adapter_file(SD15, "base").flat()
    DAMAGE[damage](tensors)
    path = write_safetensors(tmp_path / "damaged.safetensors", tensors)
    dynamic, plain = both_ways(lambda: refusal(load_adapter_file, path, path.name))
    assert dynamic == plain and "damaged.safetensors" in plain
