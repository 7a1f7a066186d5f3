"""Training in the host: what it leaves alone, what it leaves behind, and what it refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import comfy.model_management
import pytest
import torch
from diffusers import UNet2DConditionModel
from pack.ipadapter.adapters.families import BASE, FULL_FACE, PLUS
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.encoders.encoder import encode_image_prompt
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.training.data import encode_pictures, graph_pictures
from pack.ipadapter.host.training.frozen import frozen_unet
from pack.ipadapter.host.training.node import train_adapter
from pack.ipadapter.host.training.watching import TrainingWatch
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.strength.strength import Strength
from pack.ipadapter.training.batches import Batches
from pack.ipadapter.training.fresh import new_adapter, new_spec
from pack.ipadapter.training.loop import DivergedError, train_step
from pack.ipadapter.training.module import AdapterTraining
from pack.ipadapter.training.recipe import Drops, Recipe

from tests.adapters import EMBED
from tests.host.test_encoder import encoder
from tests.image_prompts import image_prompt
from tests.small import MICRO, SD15, SDXL, host_model, make_pair, reference_weights
from tests.world import adapter_file, conditioning, host_adapter, picture

pytestmark = pytest.mark.usefixtures("output")  # where an adapter is kept that a run ends without

PICTURES = 3
RECIPE = Recipe(BASE, steps=3, batch_size=2, seed=1)


def pictures(layout=MICRO, count=PICTURES, side=16):
    generator = torch.Generator().manual_seed(3)
    images = [torch.rand(1, 64, 80, 3, generator=generator) for _ in range(count)]
    latents = [{"samples": torch.randn(1, 4, side, side, generator=generator) * 4} for _ in range(count)]
    return graph_pictures(
        images, latents, [conditioning(layout, 20 + i) for i in range(count)], conditioning(layout, 9)
    )


def micro():
    """A model of its own, made as a loader in a graph makes it: its weights are inference tensors."""
    model = host_model(MICRO, reference_weights(MICRO))
    for module in model.model.diffusion_model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.clone(), requires_grad=False)
    assert next(model.model.diffusion_model.parameters()).is_inference()
    return model


def run(recipe=RECIPE, model=None, given=None, start=None, precision="auto", checkpointing=False, watch=None):
    watch = watch or TrainingWatch(recipe.steps, lambda line: None)
    return train_adapter(
        model or micro(), encoder(), given or pictures(), recipe, precision, checkpointing, start, watch
    )


@pytest.mark.parametrize("kind", [BASE, PLUS], ids=lambda kind: kind.title)
def test_a_trained_adapter_can_be_applied_at_once_and_the_model_is_unchanged(kind):
    model = micro()
    before = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}
    plain = picture(model, MICRO)
    trained = run(Recipe(kind, steps=3, batch_size=2), model)
    after = model.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(picture(model, MICRO), plain)
    prompt = encode_image_prompt(encoder(), torch.rand(1, 64, 64, 3), Fit.CROP)
    applied = apply_image_prompt(model, trained.adapter, prompt, Strength())
    assert not torch.equal(picture(applied, MICRO), plain)
    assert len(trained.losses) == 3 and trained.adapter.provenance.steps == 3


class Noted(Batches):
    """Batches that note when each is made, and when it is taken."""

    def take(self, number):
        self.events.append(("take", number))
        return super().take(number)

    def make(self, number):
        self.events.append(("make", number))
        return super().make(number)


def test_each_batch_is_made_once_and_one_at_most_ahead():
    recipe = Recipe(BASE, steps=2, batch_size=2, grad_accumulation=2)
    with frozen_unet(micro(), None, gradient_checkpointing=False) as frozen:
        spec = new_spec("new", BASE, 4, EMBED, frozen.layers)
        training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), 0), frozen)
        seen, nothing = (torch.rand(PICTURES, EMBED),), (torch.zeros(1, EMBED),)
        data = encode_pictures(frozen.patcher.model, pictures(), seen, nothing)
        batches, optimizer = Noted(data, frozen, recipe), recipe.optimizer(list(training.parameters()))
        batches.events = []
        for step in range(recipe.steps):
            train_step(training, batches, optimizer, step)
    assert batches.events == [("take", 0), ("make", 0)] + [(did, n) for n in (1, 2, 3) for did in ("make", "take")]


def test_learning_lowers_the_loss():
    recipe = Recipe(BASE, steps=40, batch_size=3, learning_rate=3e-3, drops=Drops(0, 0, 0))
    losses = run(recipe).losses
    assert sum(losses[-8:]) < 0.97 * sum(losses[:8])


def test_tokens_and_kind_are_the_users(output):
    adapter = run(Recipe(PLUS, tokens=7, steps=1)).adapter
    assert adapter.spec.projection.tokens == 7 and adapter.spec.family is PLUS


def test_going_on_from_an_adapter_starts_from_its_weights_and_counts_its_steps():
    first = run().adapter
    untouched = {key: tensor.clone() for key, tensor in first.patcher.model.state_dict().items()}
    second = run(Recipe(BASE, steps=1, learning_rate=1e-9), start=first).adapter
    assert second.provenance.steps == 4
    for key, tensor in second.patcher.model.state_dict().items():
        torch.testing.assert_close(tensor, untouched[key], atol=1e-7, rtol=0)
    assert all(torch.equal(tensor, untouched[key]) for key, tensor in first.patcher.model.state_dict().items())


@pytest.mark.parametrize("kind", [BASE, PLUS], ids=lambda kind: kind.title)
def test_a_saved_adapter_loads_here_and_in_diffusers(kind, output):
    adapter = run(Recipe(kind, steps=2), make_pair(SD15).host, pictures(SD15)).adapter
    path = save_to_output(adapter, "ipadapter/mine", "CC-BY-4.0")
    assert path == output / "ipadapter" / "mine_00001_.safetensors"
    assert save_to_output(adapter, "ipadapter/mine").name == "mine_00002_.safetensors"
    loaded = load_adapter_file(path, path.name)
    assert loaded.provenance.steps == 2 and loaded.provenance.license == "CC-BY-4.0"
    assert loaded.provenance.encoder == adapter.provenance.encoder != ""
    for key, tensor in adapter.patcher.model.state_dict().items():
        assert torch.equal(loaded.patcher.model.state_dict()[key], tensor)
    with torch.inference_mode(False):
        unet = UNet2DConditionModel(**SD15.diffusers_config)
        unet._load_ip_adapter_weights([nested(path)], low_cpu_mem_usage=False)
    names = [name for name in unet.attn_processors if "attn2" in name]
    ours = loaded.patcher.model.layers[0].to_k_ip.weight
    assert len(names) == 16 and torch.equal(unet.attn_processors[names[0]].to_k_ip[0].weight, ours)


def nested(path: Path):
    """As diffusers' own loader reads a safetensors file."""
    from safetensors import safe_open

    groups = {"image_proj": {}, "ip_adapter": {}}
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "ip-adapter"
        for key in file.keys():  # noqa: SIM118 (not a dictionary)
            group, _, rest = key.partition(".")
            groups[group][rest] = file.get_tensor(key)
    return groups


def test_sdxl_and_mixed_sizes_train():
    given = pictures(SDXL)
    given.latents[1] = given.latents[1][..., :8]
    assert len(run(Recipe(BASE, steps=2), make_pair(SDXL).host, given).losses) == 2


def test_bf16_computes_the_model_and_learns_in_fp32():
    trained = run(precision="bf16", checkpointing=True)
    assert {tensor.dtype for tensor in trained.adapter.patcher.model.state_dict().values()} == {torch.float32}


def test_progress_says_where_the_run_is_and_shows_the_loss():
    lines = []
    watch = TrainingWatch(3, lines.append)
    run(watch=watch)
    assert lines[1].startswith("step 2 of 3, loss ") and lines[1].endswith(" left")
    assert watch.picture is not None, "a sample was drawn at the end"
    assert watch.chart_tensor().shape[0] == 1


def test_an_interrupt_keeps_what_was_learned(output):
    class Impatient(TrainingWatch):
        def after_step(self, step, loss):
            comfy.model_management.interrupt_current_processing(step == 2)
            super().after_step(step, loss)

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(watch=Impatient(3, lambda line: None))
    (path,) = (output / "ipadapter").glob("*.safetensors")
    assert load_adapter_file(path, path.name).provenance.steps == 2


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_weights(output):
    given = pictures()
    given.latents[2][:] = torch.inf
    with pytest.raises(DivergedError, match=r"stopped at step \d.*output/ipadapter") as stopped:
        run(Recipe(BASE, steps=9, drops=Drops(0, 0, 0), seed=2), given=given)
    (path,) = (output / "ipadapter").glob("*.safetensors")
    loaded = load_adapter_file(path, path.name)
    assert f"step {loaded.provenance.steps + 1}:" in str(stopped.value)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in loaded.patcher.model.state_dict().values())


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(output, monkeypatch):
    adapter = run().adapter

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IPAdapterError, match="could not be written: No space left on device"):
        save_to_output(adapter, "ipadapter/mine")
    assert list((output / "ipadapter").iterdir()) == []


def test_a_name_outside_the_output_folder_is_refused():
    with pytest.raises(IPAdapterError, match="outside the output folder"):
        save_to_output(run().adapter, "../../mine")


REFUSED = {
    "counts": (lambda: {"given": graph_pictures([torch.rand(2, 64, 64, 3)], [], [], conditioning(MICRO, 1))}, "2 pict"),
    "none": (lambda: {"given": graph_pictures([], [], [], conditioning(MICRO, 1))}, "images has 0"),
    "tiny": (lambda: {"given": tiny()}, "4×4 pixels"),
    "control": (lambda: {"given": controlled()}, "carries control"),
    "applied": (lambda: {"model": applied()}, "already follows an image prompt"),
    "another base": (lambda: {"start": host_adapter(adapter_file(SDXL, "base"))}, "is for SDXL"),
    "another kind": (lambda: {"start": host_adapter(adapter_file(MICRO, "plus"))}, "is a plus adapter with 16 tokens"),
    "another encoder": (lambda: {"start": host_adapter(adapter_file(MICRO, "base"))}, "but clip_vision gives"),
}


def tiny():
    given = pictures()
    return type(given)([torch.rand(1, 4, 4, 3)] * PICTURES, given.latents, given.texts, given.empty)


def controlled():
    text = conditioning(MICRO, 1)
    text[0][1] = text[0][1] | {"control": object()}
    return graph_pictures([torch.rand(1, 64, 64, 3)], [{"samples": torch.rand(1, 4, 8, 8)}], [text], text)


def applied():
    return apply_image_prompt(micro(), host_adapter(adapter_file(MICRO, "base")), image_prompt(), Strength())


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(case, output):
    arguments, sentence = REFUSED[case]
    with pytest.raises(IPAdapterError, match=sentence) as refused:
        run(**arguments())
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)
    assert not (output / "ipadapter").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"drops": lambda: Drops(0.5, 0.5, 0.5)}, "sum at most 1"),
        ({"steps": 0}, "at least 1"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"kind": FULL_FACE}, "base or plus"),
    ],
)
def test_impossible_recipes_are_refused(settings, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        Recipe(**{name: value() if callable(value) else value for name, value in settings.items()})
