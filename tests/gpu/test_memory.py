"""A card's memory: given back after runs of every end, and what is evicted while sampling goes on is not missed."""

from __future__ import annotations

import gc

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.gpu.card import allocated
from tests.gpu.models import applied, loaded_model
from tests.image_prompts import image_prompt
from tests.small import SD15, SDXL
from tests.world import Settings, adapter_file, host_adapter, picture

SETTINGS = Settings(steps=4)


class FailedError(Exception):
    """Whatever ends a run early."""


INTERRUPTED = comfy.model_management.InterruptProcessingException
ENDS = {"finished": None, "failed": FailedError, "interrupted": INTERRUPTED}


def ending(model, error: type[BaseException] | None):
    """The model, whose third call raises an error."""
    calls = []

    def wrapper(executor, *args, **kwargs):
        calls.append(1)
        if error is not None and len(calls) == 3:
            raise error
        return executor(*args, **kwargs)

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "ending", wrapper)
    return clone


def run(model, layout, error: type[BaseException] | None) -> None:
    if error is None:
        picture(model, layout, SETTINGS)
        return
    with pytest.raises(error):
        picture(model, layout, SETTINGS)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("layout", [SD15, SDXL], ids=lambda layout: layout.name)
def test_device_memory_is_back_where_it_was_after_a_run_that(layout, end):
    model = applied(layout, "plus")
    picture(model, layout, SETTINGS)  # weights come to the device, and stay as the host likes
    gc.collect()
    before = allocated()
    run(ending(model, ENDS[end]), layout, ENDS[end])
    gc.collect()
    assert allocated() == before


def test_the_adapter_is_evicted_while_sampling_goes_on_and_not_missed():
    adapter = host_adapter(adapter_file(SD15, "plus"))
    model = apply_image_prompt(loaded_model(SD15), adapter, image_prompt(), Strength())
    expected = picture(model, SD15, SETTINGS)
    loaded = []

    def evict(executor, *args, **kwargs):
        held = comfy.model_management.current_loaded_models
        for each in [each for each in held if each.model is adapter.patcher]:
            held.remove(each)
            each.model_unload()
        loaded.append(adapter.patcher in comfy.model_management.loaded_models())
        return executor(*args, **kwargs)

    comfy.model_management.load_models_gpu([adapter.patcher])
    evicting = model.clone()
    evicting.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "evict", evict)
    assert torch.equal(picture(evicting, SD15, SETTINGS), expected)
    assert len(loaded) == SETTINGS.steps and not any(loaded)


def test_two_models_in_turn_draw_what_each_draws_alone():
    """Whatever each has to give up for the other comes back."""
    models = {layout: applied(layout, "plus") for layout in (SD15, SDXL)}
    alone = {layout: picture(model, layout, SETTINGS) for layout, model in models.items()}
    for _ in range(2):
        for layout, model in models.items():
            comfy.model_management.free_memory(1e30, comfy.model_management.get_torch_device())
            assert torch.equal(picture(model, layout, SETTINGS), alone[layout])


def test_an_adapter_that_was_evicted_can_be_applied_again():
    adapter = host_adapter(adapter_file(SD15, "plus"))

    def drawn() -> torch.Tensor:
        model = apply_image_prompt(loaded_model(SD15), adapter, image_prompt(), Strength())
        return picture(model, SD15, SETTINGS)

    expected = drawn()
    comfy.model_management.unload_all_models()
    assert torch.equal(drawn(), expected)
