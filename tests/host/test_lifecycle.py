"""A run's beginning, window and end: memory through the host, nothing left behind."""

from __future__ import annotations

import gc
import weakref

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.adapters.fit import match_layers
from pack.ipadapter.host.sampling import calls
from pack.ipadapter.host.sampling.calls import CallRows, Prepared
from pack.ipadapter.host.sampling.patching import APPLY_KEY, apply_image_prompt
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.refusals import refusal
from tests.small import SD15, SDXL, make_pair
from tests.world import Settings, adapter_file, host_adapter, sample

ALWAYS = Strength()


def applied(strength=ALWAYS, mask=None, adapter=None):
    adapter = adapter or host_adapter(adapter_file(SD15, "base"))
    return apply_image_prompt(make_pair(SD15).host, adapter, image_prompt(), strength, mask)


def rows_of(model):
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)
    return rows


class StopEarlyError(Exception):
    """Whatever ends a run early."""


def watch(model, fail_at: int | None = None):
    """Record what the run holds at each call, and end it at one if asked."""
    held = []

    def wrapper(executor, *args, **kwargs):
        made = rows_of(model).made
        held.append(
            [weakref.ref(branch.keys) for call in made.values() for b in call.branches.values() for branch in b]
        )
        if fail_at == len(held):
            raise StopEarlyError
        return executor(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", wrapper)
    return watched, held


def test_nothing_is_left_after_a_run():
    model = applied()
    watched, held = watch(model)
    sample(watched, SD15)
    gc.collect()
    assert held and all(held)
    assert not any(ref() is not None for refs in held for ref in refs)
    assert rows_of(model).made == {}


def test_what_another_thread_keeps_meanwhile_is_no_failure(monkeypatch):
    """Cards that share a run call the model at once, each in a thread. Here another keeps something at every look."""
    monkeypatch.setattr(calls, "ROOM", 1)
    monkeypatch.setattr(calls, "FEW", 2)
    rows = CallRows(())

    class Meanwhile:
        """Both a shape of call and what is made for it."""

        branches, dials = {}, {}

        def looked_at(self):
            rows.made[Meanwhile()] = Prepared({}, {}, 2)
            return 2

        size = active = property(looked_at)

    for _ in range(3):
        rows.made = {Meanwhile(): Meanwhile() for _ in range(4)}
        rows.keep(Meanwhile(), Prepared({}, {}, 2))
    assert rows.made


def test_nothing_is_left_after_a_failed_or_interrupted_run():
    model = applied()
    watched, held = watch(model, fail_at=2)
    with pytest.raises(StopEarlyError):
        sample(watched, SD15, Settings(steps=4))
    gc.collect()
    assert rows_of(model).made == {}
    assert not any(ref() is not None for refs in held for ref in refs)
    sample(model, SD15)  # and the next run works


def test_rows_are_made_once_a_run():
    model = applied()
    rows, made = rows_of(model), []
    make = rows.make
    rows.make = lambda call: made.append(call) or make(call)
    sample(model, SD15, Settings(steps=4))
    assert len(made) == 1


def test_the_adapter_may_be_evicted_once_applied():
    adapter = host_adapter(adapter_file(SD15, "base"))
    model = applied(adapter=adapter)
    expected = sample(model, SD15)[0]
    comfy.model_management.unload_all_models()
    loaded = []

    def wrapper(executor, *args, **kwargs):
        loaded.append(adapter.patcher in comfy.model_management.loaded_models())
        return executor(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", wrapper)
    assert torch.equal(sample(watched, SD15)[0], expected)
    assert loaded and not any(loaded)


def test_a_model_and_an_adapter_loaded_in_part_give_the_same_picture():
    adapter = host_adapter(adapter_file(SD15, "base"))
    expected = sample(applied(adapter=adapter), SD15)[0]
    comfy.model_management.unload_all_models()
    adapter.patcher.load(torch.device("cpu"), lowvram_model_memory=100_000)
    model = applied(adapter=adapter)
    model.load(torch.device("cpu"), lowvram_model_memory=500_000)
    assert model.model.model_lowvram
    assert torch.allclose(sample(model, SD15)[0], expected, atol=1e-5)


def test_outside_its_window_the_model_is_the_base_model():
    base = make_pair(SD15).host
    settings = Settings(steps=4)
    _, plain = sample(base, SD15, settings)
    _, calls = sample(applied(Strength(1.0, 0.5, 1.0)), SD15, settings)
    same = [torch.equal(a.output, b.output) for a, b in zip(plain, calls, strict=True)]
    assert same[0] and not same[-1]
    _, calls = sample(applied(Strength(1.0, 0.0, 0.5)), SD15, settings)
    assert not torch.equal(plain[0].output, calls[0].output)


def test_a_window_ends_where_the_hosts_own_timestep_range_does():
    base = make_pair(SD15).host
    sampling = base.model.model_sampling
    settings = Settings(steps=10, cfg=1.0)
    _, calls = sample(applied(Strength(1.0, 0.3, 0.7)), SD15, settings)
    full, plain = sample(applied(), SD15, settings)[1], sample(base, SD15, settings)[1]
    start, end = (sampling.percent_to_sigma(at) for at in (0.3, 0.7))
    for call in calls:
        sigma = float(sampling.sigma(call.timestep)[0])
        inside = end <= sigma <= start
        again = rerun(full if inside else plain, call)
        if again is not None:
            assert torch.equal(again, call.output)
    assert any(not end <= float(sampling.sigma(call.timestep)[0]) <= start for call in calls)


def rerun(reference_calls, call):
    """The output of another run for the very same input, where it met that input."""
    return next((c.output for c in reference_calls if torch.equal(c.x, call.x)), None)


def test_two_windows_hand_over():
    base, prompt = make_pair(SD15).host, image_prompt()
    adapter = host_adapter(adapter_file(SD15, "base"))
    first = apply_image_prompt(base, adapter, prompt, Strength(1.0, 0.0, 0.5))
    both = apply_image_prompt(first, adapter, prompt, Strength(1.0, 0.5001, 1.0))
    settings = Settings(steps=5)
    whole = sample(applied(adapter=adapter), SD15, settings)[0]
    assert torch.allclose(sample(both, SD15, settings)[0], whole, atol=1e-5)


def message(call) -> str:
    text = refusal(call)
    assert len(text) < 400
    return text


def test_an_adapter_for_another_base_is_refused_when_applied():
    sdxl = host_adapter(adapter_file(SDXL, "base"), "my_sdxl.safetensors")
    text = message(lambda: apply_image_prompt(make_pair(SD15).host, sdxl, image_prompt(), Strength()))
    assert all(word in text for word in ("my_sdxl.safetensors", "SDXL", "SD1.5", "70 layers", "16 layers"))


def test_a_model_without_cross_attention_is_refused():
    adapter = host_adapter(adapter_file(SD15, "base"))
    text = message(lambda: match_layers(adapter.spec, torch.nn.Linear(2, 2)))
    assert "no UNet cross-attention or" in text and "SD1.5" in text


@pytest.mark.parametrize("family", ["base", "plus"])
def test_a_prompt_of_another_encoder_is_refused(family):
    wrong = ImageFeatures(torch.zeros(1, 1280), torch.zeros(1, 257, 1664))
    prompt = ImagePrompt.known((Part(wrong),), wrong, "some encoder")
    adapter = host_adapter(adapter_file(SD15, family), "mine.safetensors")
    text = message(lambda: apply_image_prompt(make_pair(SD15).host, adapter, prompt, Strength()))
    assert "mine.safetensors" in text and "some encoder" in text and ("96" in text or "80" in text)


def test_an_encoder_without_patch_tokens_is_refused_for_plus():
    features = ImageFeatures(torch.zeros(1, 96), None)
    adapter = host_adapter(adapter_file(SD15, "plus"))
    prompt = ImagePrompt.known((Part(features),), features, "a ResNet")
    assert "a ResNet" in message(lambda: apply_image_prompt(make_pair(SD15).host, adapter, prompt, Strength()))


@pytest.mark.parametrize("mask", [torch.zeros(1, 8, 8), torch.zeros(0, 8, 8), torch.ones(8, 8)])
def test_a_mask_nobody_could_use_is_refused(mask):
    assert "mask" in message(lambda: applied(mask=mask))


def test_a_batch_of_masks_that_fits_no_batch_is_refused_before_sampling():
    model = applied(mask=torch.ones(3, 64, 64))
    watched, held = watch(model)
    assert "3" in message(lambda: sample(watched, SD15, Settings(batch=2)))
    assert not held


def test_a_window_that_never_opens_is_refused():
    for start, end in ((0.8, 0.2), (0.5, 0.5)):
        assert "never act" in message(lambda start=start, end=end: Strength(1.0, start, end))


def test_calling_the_unet_past_the_host_is_said_not_ignored():
    model = applied()
    options = model.model_options["transformer_options"]
    unet = make_pair(SD15).host.model.diffusion_model
    text = message(
        lambda: unet(
            torch.zeros(1, 4, 16, 16), torch.tensor([5]), context=torch.zeros(1, 7, 768), transformer_options=options
        )
    )
    assert "apply_model" in text
