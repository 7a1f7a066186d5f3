"""Training an adapter for FLUX in the host: what it begins with, what it leaves alone, and what it refuses."""

from __future__ import annotations

import comfy.text_encoders.flux
import pytest
import torch
from pack.ipadapter.adapters.families import BASE, XLABS
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.adapter import load_adapter_file, trained_adapter
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.encoders.encoder import encode_black_picture, encode_image_prompt
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.training.data import encode_pictures, graph_pictures
from pack.ipadapter.host.training.frozen import frozen_unet, noise_levels
from pack.ipadapter.host.training.models import HostText, cut
from pack.ipadapter.host.training.node import train_adapter
from pack.ipadapter.host.training.sight import EncoderSight
from pack.ipadapter.host.training.watching import TrainingWatch
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.strength.strength import Strength
from pack.ipadapter.training.batches import Batches
from pack.ipadapter.training.fresh import new_adapter, new_spec
from pack.ipadapter.training.loop import train
from pack.ipadapter.training.module import AdapterTraining
from pack.ipadapter.training.recipe import Drops, Recipe

from tests.adapters import EMBED
from tests.flux import CONTEXT, FLUX, GUIDANCE, LATENTS, POOLED, conditioning, flux_adapter, flux_picture, make_flux
from tests.flux import flux_prompt as prompt
from tests.host.test_encoder import EMBED as SEEN
from tests.host.test_encoder import encoder
from tests.small import MICRO, make_pair
from tests.world import host_adapter

pytestmark = pytest.mark.usefixtures("output")  # where an adapter is kept that a run ends without

PICTURES = 2
RECIPE = Recipe(XLABS, tokens=4, steps=2, batch_size=2, seed=1)


def pictures(count=PICTURES, texts=None):
    generator = torch.Generator().manual_seed(3)
    images = [torch.rand(1, 40, 48, 3, generator=generator) for _ in range(count)]
    latents = [{"samples": torch.randn(1, LATENTS, *FLUX.size, generator=generator)} for _ in range(count)]
    return graph_pictures(images, latents, texts or [conditioning(20 + i) for i in range(count)], conditioning(9))


def run(recipe=RECIPE, model=None, given=None, start=None, checkpointing=False):
    watch = TrainingWatch(recipe.steps, lambda line: None)
    trained = train_adapter(
        model or make_flux(), encoder(), given or pictures(), recipe, "auto", checkpointing, start, watch
    )
    return trained, watch


def test_an_untrained_adapter_is_the_base_model_to_the_bit():
    with frozen_unet(make_flux(), None, False, XLABS) as frozen:
        spec = new_spec("new", XLABS, 4, EMBED, frozen.layers)
        adapter = trained_adapter(new_adapter(spec, frozen.layer_weights(), 0), Provenance())
    applied = apply_image_prompt(make_flux(), adapter, prompt(), Strength())
    assert torch.equal(flux_picture(applied), flux_picture(make_flux()))


def test_learning_one_picture_lowers_its_loss():
    recipe = Recipe(XLABS, tokens=4, steps=10, learning_rate=3e-3, drops=Drops(0, 0, 0))
    with frozen_unet(make_flux(), None, False, XLABS) as frozen:
        spec = new_spec("new", XLABS, 4, EMBED, frozen.layers)
        training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), 0), frozen)
        data = encode_pictures(frozen.patcher.model, pictures(1), (torch.randn(1, EMBED),), (torch.zeros(1, EMBED),))
        batches = Batches(data, frozen, recipe)
        losses = [[training(batches.make(number)).item() for number in range(20, 24)]]
        train(training, data, recipe, lambda step, loss: None)
        losses += [[training(batches.make(number)).item() for number in range(20, 24)]]
    assert all(after < before for before, after in zip(*losses, strict=True)), losses


def test_a_trained_adapter_can_be_applied_saved_and_loaded_and_the_model_is_unchanged(output):
    model = make_flux()
    before, plain = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}, flux_picture(model)
    trained, watch = run(checkpointing=True)
    after = model.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert not any("forward" in vars(module) for module in model.model.modules())
    assert watch.picture is not None, "a sample was drawn at the end"
    path = save_to_output(trained.adapter, "ipadapter/mine")
    loaded = load_adapter_file(path, path.name)
    assert str(loaded.spec) == "XLabs FLUX adapter for FLUX.1, 2 layers, tokens: 4"
    seen = encode_image_prompt(encoder(), torch.rand(1, 64, 64, 3), Fit.CROP)
    drawn = [flux_picture(apply_image_prompt(model, one, seen, Strength())) for one in (trained.adapter, loaded)]
    assert torch.equal(*drawn) and not torch.equal(drawn[0], plain)
    assert torch.equal(flux_picture(model), plain)


def test_going_on_from_an_adapter_starts_from_its_weights_and_counts_its_steps():
    first = host_adapter(flux_adapter("XLabs FLUX", embed=SEEN))
    second = run(Recipe(XLABS, steps=1, learning_rate=1e-9), start=first)[0].adapter
    assert second.provenance.steps == 1
    for key, tensor in first.patcher.model.state_dict().items():
        torch.testing.assert_close(second.patcher.model.state_dict()[key], tensor, atol=1e-7, rtol=0)


def test_a_dropped_image_is_a_black_picture():
    (nothing,) = EncoderSight(encoder(), XLABS).no_picture()
    assert torch.equal(nothing, encode_black_picture(encoder()))


def test_times_are_shifted_towards_noise_as_the_host_samples():
    sigma = noise_levels(make_flux().get_model_object("model_sampling"))
    assert sigma(0.0) == 1.0 and sigma(0.5) == pytest.approx(0.7595, abs=1e-4)


def test_the_command_tells_flux_the_text_its_pooled_embedding_and_the_hosts_guidance():
    context, pooled = torch.randn(2, 5, CONTEXT), torch.randn(2, POOLED)
    told = HostText(make_flux(), 64)(context, pooled, torch.zeros(2, 4, dtype=torch.long))
    assert torch.equal(told["c_crossattn"], context) and torch.equal(told["y"], pooled)
    assert told["guidance"].tolist() == [GUIDANCE] * 2


def test_a_long_text_is_cut_before_its_end_and_a_short_one_is_as_long():
    tokenizer = comfy.text_encoders.flux.FluxTokenizer()
    short, long = (tokenizer.tokenize_with_weights(text)["t5xxl"][0] for text in ("a cat", "a cat " * 300))
    assert len(cut(long)) == len(cut(short)) == 256 < len(long)
    assert cut(long)[:255] == long[:255] and cut(long)[-1] == long[-1] and cut(short) == short


SD15_MODELS, FLUX_MODELS = "an SD1.5, SD2.1, SDXL or Kolors model", "a FLUX.1 or Chroma model"
REFUSED = {
    "a UNet's kind": (
        lambda: {"recipe": Recipe(BASE)},
        f"kind is base, which is for {SD15_MODELS}, but the model is a pruned FLUX.1 .*: set kind to XLabs FLUX, or",
    ),
    "a UNet": (
        lambda: {"model": make_pair(MICRO).host},
        f"kind is XLabs FLUX, which is for {FLUX_MODELS}, but the model is a pruned .*: set kind to base or plus, or",
    ),
    "pictures to look at": (
        lambda: {"given": pictures(1, [conditioning(1, reference_latents=[torch.zeros(1, LATENTS, 4, 4)])])},
        "carries reference_latents",
    ),
    "texts of two lengths": (
        lambda: {"given": pictures(2, [conditioning(1), conditioning(2, tokens=8)])},
        r"captions are of 2 lengths \(3 of 5 tokens, 1 of 8 tokens\)",
    ),
    "InstantX's adapter": (
        lambda: {"start": host_adapter(flux_adapter("InstantX FLUX"))},
        "is a InstantX FLUX adapter",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(case, output):
    arguments, sentence = REFUSED[case]
    with pytest.raises(IPAdapterError, match=sentence) as refused:
        run(**arguments())
    assert str(refused.value).endswith(".") and "\n" not in str(refused.value)
    assert not (output / "ipadapter").exists()
