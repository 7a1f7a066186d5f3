"""What Apply IP-Adapter promises holds in FLUX too: masks on its grid, frames, windows, maps, neighbours, refusals."""

from __future__ import annotations

import logging
from dataclasses import replace

import comfy.controlnet
import comfy.ldm.flux.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.backbones.known import require_layers
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.describing import describe_loaded
from pack.ipadapter.host.backbones.flux import Hook
from pack.ipadapter.host.sampling.conditioning import carrying
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.prompts.prompt import Order, Overlap
from pack.ipadapter.prompts.regions import place_in_region
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.layers import LevelRule, PresetRule, TypedRule, read_layer_weights
from pack.ipadapter.strength.strength import Strength

from tests.blocks import TheirBlock
from tests.flux import (
    CONTEXT,
    FLUX,
    POOLED,
    WIDTH,
    Blocks,
    conditioning,
    flux_adapter,
    flux_picture,
    flux_prompt,
    host_config,
    make_flux,
    sample_flux,
    with_cfg,
)
from tests.image_prompts import image_prompt
from tests.small import MICRO, make_pair, scatter
from tests.world import adapter_file, host_adapter

FAMILIES = ["XLabs FLUX", "InstantX FLUX", "InstantCharacter"]
LEFT = torch.zeros(1, 72, 48)  # the picture of a 9 x 6 latent: 5 x 3 rows of 2 x 2 latent pixels
LEFT[..., :16] = 1
ONE_OF_EACH = Blocks(1, 1)  # to be traced, which takes seconds
REFERENCE = [torch.randn(1, 16, 4, 6, generator=torch.Generator().manual_seed(8))]

every_family = pytest.mark.parametrize("family", FAMILIES)


def apply(family, model=None, prompt=None, strength=None, **kwargs):
    adapter = host_adapter(flux_adapter(family))
    return apply_image_prompt(model or make_flux(), adapter, prompt or flux_prompt(), strength or Strength(), **kwargs)


def drawn(model, settings=FLUX, conds=None):
    return flux_picture(model, settings, conds)


def apart(one, other) -> float:
    return (one - other).abs().max().item()


def hooks(model):
    options = model.model_options["transformer_options"]
    listed = [hook for hooks in options.get("patches", {}).values() for hook in hooks]
    return listed + [*options.get("patches_replace", {}).get("dit", {}).values()]


@every_family
def test_an_image_prompt_changes_the_picture_and_weight_zero_does_not(family):
    bare = drawn(make_flux())
    assert apart(drawn(apply(family)), bare) > 0.01
    assert torch.equal(drawn(apply(family, strength=Strength(0.0))), bare)
    assert not hooks(make_flux())


@every_family
def test_a_base_in_eight_bits_follows_it_too(family):
    """Nothing of the base's weights is read, however they are stored."""
    packed = make_flux(dtype=torch.float8_e4m3fn, cast=torch.bfloat16)
    assert packed.model.diffusion_model.img_in.weight.dtype is torch.float8_e4m3fn
    picture = drawn(apply(family, model=packed))
    assert bool(torch.isfinite(picture).all()) and apart(picture, drawn(packed)) > 0.1


@every_family
def test_a_second_application_stands_in_the_place_of_the_firsts_hooks(family):
    one = apply(family)
    both = apply(family, model=one, prompt=flux_prompt(seed=9))
    assert len(hooks(both)) == len(hooks(one))
    alone = drawn(one)
    assert apart(drawn(both), alone) > 0.01 and torch.equal(drawn(one), alone)


@every_family
def test_a_mask_and_the_rest_of_it_are_the_whole(family):
    """Each row of a block is a sum over branches, so that two halves of one image prompt are the image prompt."""
    whole = sample_flux(apply(family, mask=torch.ones(1, 72, 48)), replace(FLUX, steps=1))[1][0]
    halves = apply(family, model=apply(family, mask=LEFT), mask=1 - LEFT)
    parts = sample_flux(halves, replace(FLUX, steps=1))[1][0]
    assert torch.equal(whole.x, parts.x) and apart(whole.output, parts.output) <= 1e-5
    assert apart(drawn(apply(family, mask=LEFT)), drawn(apply(family))) > 0.01


def test_everywhere_is_no_mask():
    """XLabs' adapter adds to the picture alone, so that a mask of ones leaves it as it is."""
    assert apart(drawn(apply("XLabs FLUX", mask=torch.ones(1, 72, 48))), drawn(apply("XLabs FLUX"))) <= 1e-5


def added_rows(family, conds=None, **kwargs) -> torch.Tensor:
    """How much is added to each row of the last block that adds, by what stands around its hooks."""
    seen: dict[str, torch.Tensor] = {}

    def before(attn, options):
        seen["before"] = attn.clone()
        return attn

    def after(attn, options):
        seen["after"] = attn.clone()
        return attn

    model = make_flux().clone()
    model.set_model_patch(before, "attn1_output_patch")
    model = apply(family, model=model, **kwargs).clone()
    model.set_model_patch(after, "attn1_output_patch")
    drawn(model, replace(FLUX, steps=1), conds)
    return (seen["after"] - seen["before"]).abs().amax(dim=(0, 2))


def test_a_mask_is_of_the_picture_and_not_of_text_or_of_pictures_that_are_only_looked_at():
    """5 rows of text, 5 x 3 of the picture, 2 x 3 of a reference."""
    conds = (conditioning(11, reference_latents=REFERENCE), conditioning(12))
    everywhere = added_rows("InstantX FLUX", conds)
    assert everywhere.shape == (5 + 15 + 6,) and bool((everywhere > 1e-3).all())
    left = added_rows("InstantX FLUX", conds, mask=LEFT)
    picture = left[5:20].view(5, 3)
    assert bool((picture[:, 0] > 1e-3).all()) and picture[:, 2].max() <= 1e-5
    assert left[:5].max() == 0 and left[20:].max() == 0


@every_family
def test_frames_of_one_batch_are_the_pictures_of_each_alone(family):
    prompt = flux_prompt(images=2)
    (part,) = prompt.parts
    frames = replace(prompt, parts=(replace(part, order=Order.FRAME_BY_FRAME),))
    both = sample_flux(apply(family, prompt=frames), replace(FLUX, batch=2, steps=1))[1][0]
    for index in range(2):
        alone = replace(prompt, parts=(replace(part, positive=part.positive[index : index + 1]),))
        call = sample_flux(apply(family, prompt=alone), replace(FLUX, batch=2, steps=1))[1][0]
        assert apart(both.output[index], call.output[index]) <= 1e-5


@every_family
@pytest.mark.parametrize(
    "strength", [Strength(1.0, 0.0, 0.5), Strength(curves=(WeightCurve(((0.0, 1.0), (0.5, 0.0), (1.0, 0.0))),))]
)
def test_outside_its_window_the_model_is_the_bare_one(family, strength):
    settings = replace(FLUX, steps=4)
    _, calls = sample_flux(apply(family, strength=strength), settings)
    last, bare = calls[-1], make_flux().model
    again = bare.diffusion_model(last.x, last.timestep, last.context, last.y, last.guidance)
    assert apart(last.output, again) <= 1e-6
    first = calls[0]
    assert (
        apart(first.output, bare.diffusion_model(first.x, first.timestep, first.context, first.y, first.guidance))
        > 0.01
    )


@every_family
def test_blocks_are_weighed_by_part_and_number(family):
    only = Strength(layers=(read_layer_weights("double 1: 0.5"),))
    first = Strength(layers=(read_layer_weights("double 0: 0.5"),))
    assert apart(drawn(apply(family, strength=only)), drawn(apply(family, strength=first))) > 1e-3
    everything = Strength(0.5, layers=(TypedRule((("all", 1.0),)),))
    assert torch.equal(drawn(apply(family, strength=everything)), drawn(apply(family, strength=Strength(0.5))))


def test_a_part_that_the_adapter_does_not_act_in_is_not_there():
    with pytest.raises(IPAdapterError, match="'single' names no layer .* double 0, double 1"):
        apply("XLabs FLUX", strength=Strength(layers=(read_layer_weights("single: 1"),)))


@pytest.mark.parametrize("preset", ["style transfer", "weak input"])
def test_weights_by_the_blocks_of_a_unet_are_refused(preset):
    with pytest.raises(
        IPAdapterError,
        match=f"the layer weights '{preset}' are not known for a FLUX.1 or Chroma model: choose one of linear",
    ):
        apply("InstantX FLUX", strength=Strength(layers=(PresetRule(preset),)))


def test_weights_by_the_levels_of_a_unet_are_refused_unless_they_say_nothing():
    plain, changed = (Strength(layers=(LevelRule({"input 1": weight, "middle": 1.0}),)) for weight in (1.0, 0.5))
    assert torch.equal(drawn(apply("XLabs FLUX", strength=plain)), drawn(apply("XLabs FLUX")))
    with pytest.raises(IPAdapterError, match="weights of input 1, middle mean nothing in a FLUX.1 or Chroma model"):
        apply("XLabs FLUX", strength=changed)


@every_family
def test_a_prompt_of_one_conditioning_acts_there_alone(family):
    bound = apply(family, bound="mine")
    plain, mine = conditioning(11), carrying(conditioning(11), "mine")
    assert torch.equal(drawn(bound, conds=(plain, plain)), drawn(make_flux(), conds=(plain, plain)))
    assert apart(drawn(bound, conds=(mine, plain)), drawn(apply(family), conds=(plain, plain))) <= 1e-5


def test_regions_share_what_they_both_cover():
    prompt = place_in_region(flux_prompt(), torch.ones(1, 72, 48), 1.0, Overlap.SHARE)
    twice = replace(prompt, parts=prompt.parts * 2)
    assert apart(drawn(apply("XLabs FLUX", prompt=twice)), drawn(apply("XLabs FLUX", prompt=prompt))) <= 1e-4


@every_family
def test_a_map_tells_where_it_acted(family):
    model, record = record_image_prompt(apply(family, mask=LEFT))
    picture = drawn(model)
    assert torch.equal(picture, drawn(apply(family, mask=LEFT)))
    maps = record.maps
    assert {*maps.levels} == ({"double", "single"} if family == "InstantX FLUX" else {"double"} | {*maps.levels})
    shares = maps.shares["double", 0][0]
    assert shares.shape == (1, 5, 3) and shares[..., 0].min() > 0.01 and shares[..., 2].max() <= 1e-4


def test_maps_tell_two_families_in_one_block_apart():
    """One adds within the attention, the other behind the block: both are counted, and neither is changed by it."""
    both = apply("InstantX FLUX", model=apply("XLabs FLUX", mask=LEFT), prompt=flux_prompt(seed=9), mask=1 - LEFT)
    model, record = record_image_prompt(both)
    assert torch.equal(drawn(model), drawn(both))
    together, left, right = record.maps.shares["double", 0]
    assert left[..., 0].min() > 0.01 and left[..., 2].max() <= 1e-4
    assert right[..., 2].min() > 0.01 and right[..., 0].max() <= 1e-4
    assert together[..., 0].min() > 0.01 and together[..., 2].min() > 0.01


@every_family
def test_compiled_by_the_hosts_node_it_is_the_same_and_follows_what_changes(family):
    torch._dynamo.reset()
    base, adapter = make_flux(ONE_OF_EACH), host_adapter(flux_adapter(family, ONE_OF_EACH))
    for strength in (Strength(), Strength(0.3), Strength(1.0, 0.0, 0.5)):
        model = apply_image_prompt(base, adapter, flux_prompt(), strength)
        assert apart(drawn(TorchCompileModel.execute(model, "eager").result[0]), drawn(model)) <= 1e-4
    torch._dynamo.reset()


@every_family
def test_beside_a_cache_that_skips_calls_it_acts(family):
    cached = EasyCacheNode.execute(apply(family), 0.2, 0.15, 0.95, False).result[0]
    assert apart(drawn(cached), drawn(EasyCacheNode.execute(make_flux(), 0.2, 0.15, 0.95, False).result[0])) > 0.01


def test_another_nodes_patch_of_a_block_is_wrapped():
    theirs, model = TheirBlock(), make_flux().clone()
    model.set_model_patch_replace(theirs, "dit", "double_block", 1)
    assert torch.equal(drawn(apply("XLabs FLUX", model=model)), drawn(apply("XLabs FLUX"))) and theirs.calls == 2
    twice = apply("XLabs FLUX", model=apply("XLabs FLUX", model=model), prompt=flux_prompt(seed=9))
    theirs.calls = 0
    drawn(twice)
    assert theirs.calls == 2


def test_a_later_patch_in_the_place_of_a_block_is_told_after_the_run(caplog):
    model = apply("XLabs FLUX").clone()
    model.set_model_patch_replace(TheirBlock(), "dit", "double_block", 1)
    with caplog.at_level(logging.WARNING):
        drawn(model)
    assert "the image prompt acted in only 1 of 2 layers, because a later node replaces these blocks" in caplog.text


def other_forward(handed_on):
    """A forward that calls the blocks with other options than the host's, as caches of other packs do."""

    def forward(self, img, img_ids, txt, txt_ids, timesteps, y, guidance=None, control=None, **more):
        given = handed_on(more["transformer_options"])
        img, txt = self.img_in(img), self.txt_in(txt)
        vec = self.time_in(torch.zeros(len(img), 256)) + self.vector_in(y)
        pe = self.pe_embedder(torch.cat((txt_ids, img_ids), dim=1))
        wraps = more["transformer_options"].get("patches_replace", {}).get("dit", {})
        for i, block in enumerate(self.double_blocks):

            def call(args, block=block):
                made = block(args["img"], args["txt"], args["vec"], args["pe"], transformer_options=given)
                return dict(zip(("img", "txt"), made, strict=True))

            args = {"img": img, "txt": txt, "vec": vec, "pe": pe}
            wrap = wraps.get(("double_block", i))
            out = wrap(args, {"original_block": call}) if wrap else call(args)
            img, txt = out["img"], out["txt"]
        return self.final_layer(img, vec)

    return forward


def with_other_forward(model, handed_on=lambda options: {}):
    changed = model.clone()
    forward = other_forward(handed_on).__get__(changed.model.diffusion_model)
    changed.add_object_patch("diffusion_model.forward_orig", forward)
    return changed


def test_a_forward_that_hands_no_options_on_is_refused_where_a_block_is_wrapped():
    with pytest.raises(IPAdapterError, match=r"calls its blocks without ComfyUI's options \(TeaCache does so\)"):
        drawn(with_other_forward(apply("XLabs FLUX")))


def test_a_forward_that_hands_no_options_on_is_told_after_the_run_where_nothing_is_asked(caplog):
    with caplog.at_level(logging.WARNING):
        drawn(with_other_forward(apply("InstantX FLUX")))
    assert "the image prompt had no effect, because a later node replaces these blocks, or the forward" in caplog.text


def test_a_forward_that_does_not_say_which_block_runs_is_told_after_the_run(caplog):
    """It hands the options on, without what the host's own forward adds to them."""
    with caplog.at_level(logging.WARNING):
        drawn(with_other_forward(apply("InstantX FLUX"), lambda options: options))
    assert "the image prompt had no effect, because a later node replaces these blocks, or the forward" in caplog.text


def small_controlnet():
    """A random FLUX ControlNet of the host's class, over latents."""
    config = {**host_config(Blocks(1, 1)), "patch_size": 2}
    with torch.inference_mode(False):
        net = comfy.ldm.flux.controlnet.ControlNetFlux(
            latent_input=False, operations=comfy.ops.disable_weight_init, dtype=torch.float32, **config
        )
        net.eval().requires_grad_(False)
        scatter(net, 4, std=0.05)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(net, load_device=device, manual_cast_dtype=None, extra_conds=["y", "guidance"])


@every_family
def test_beside_a_controlnet_both_act(family):
    def controlled():
        control = small_controlnet()
        control.set_cond_hint(torch.rand(1, 3, 80, 48), 1.0, (0.0, 1.0))
        return (conditioning(11, control=control), conditioning(12, control=control))

    even = replace(FLUX, size=(10, 6))  # the host's own takes no odd sides
    with_both = drawn(apply(family), even, controlled())
    assert apart(with_both, drawn(apply(family), even)) > 1e-3
    assert apart(with_both, drawn(make_flux(), even, controlled())) > 1e-2


@every_family
def test_nothing_is_left_after_a_run(family):
    model = apply(family)
    drawn(model, with_cfg())
    (rows,) = {id(hook.feed.release.__self__): hook.feed.release.__self__ for hook in hooks(model)}.values()
    assert not rows.made and not rows.placed


REFUSED = {
    "fewer double blocks": ("XLabs FLUX", Blocks(1, 2), "for FLUX.1 .2 layers.*pruned FLUX.1 .1 of 19 double"),
    "fewer single blocks": ("InstantX FLUX", Blocks(2, 1), "for FLUX.1 .4 layers.*2 of 19 double.*1 of 38 single"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_pruned_model_is_refused_with_both_counts(case):
    family, blocks, sentence = REFUSED[case]
    with pytest.raises(IPAdapterError, match=sentence):
        apply(family, model=make_flux(blocks))


@every_family
def test_adapters_and_models_of_two_kinds_are_refused_with_both_names(family):
    with pytest.raises(IPAdapterError, match="is for FLUX.1 .* the model is a pruned SD1.5"):
        apply(family, model=make_pair(MICRO).host)
    unet = host_adapter(adapter_file(MICRO, "base"))
    with pytest.raises(IPAdapterError, match="is for SD1.5 .* the model is a pruned FLUX.1"):
        apply_image_prompt(make_flux(), unet, image_prompt(), Strength())


@every_family
def test_a_loaded_adapter_is_described_beside_a_model(family):
    said = describe_loaded(host_adapter(flux_adapter(family)), make_flux())
    assert "fits. It is a pruned FLUX.1 (2 of 19 double blocks" in said and f"{CONTEXT} wide" in said


def test_hooks_are_told_from_other_nodes_patches():
    model = apply("InstantX FLUX")
    assert all(isinstance(hook, Hook) for hook in hooks(model)) and POOLED


def relative(**changes):
    """FLUX of one block of each kind, changed in some way."""
    return relative_of(comfy.supported_models.Flux, host_config(Blocks(1, 1)) | changes)


def relative_of(kind, unet_config):
    """A random model that is built of the same blocks."""
    config = kind(unet_config)
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        model = config.get_model({}, device=comfy.model_management.unet_offload_device())
        model.eval().requires_grad_(False)
        scatter(model.diffusion_model, 3, std=0.03)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def test_schnell_is_taken_with_a_word(caplog):
    adapter = host_adapter(flux_adapter("XLabs FLUX", Blocks(1, 1)))
    with caplog.at_level(logging.WARNING):
        apply_image_prompt(relative(guidance_embed=False), adapter, flux_prompt(), Strength())
    assert "were trained with dev and its guidance; schnell follows them less" in caplog.text


CHROMA = {"image_model": "chroma", "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": WIDTH}
CHROMA |= {"hidden_dim": 32, "n_layers": 1}
CHROMA_TAKES = ("patch_size", "context_in_dim", "hidden_size", "mlp_ratio", "num_heads", "depth", "depth_single_blocks")
CHROMA_TAKES += ("axes_dim", "theta", "qkv_bias", "txt_ids_dims", "vec_in_dim")


@every_family
def test_chroma_is_flux_with_another_modulation(family):
    """Whole in number, as it has one modulation for all of its blocks."""
    config = {key: value for key, value in host_config(Blocks(19, 38)).items() if key in CHROMA_TAKES} | CHROMA
    model = relative_of(comfy.supported_models.Chroma, config)
    adapter = host_adapter(flux_adapter(family, Blocks(19, 38)))
    told = apply_image_prompt(model, adapter, flux_prompt(), Strength())
    one_step = replace(FLUX, size=(4, 4), steps=1)
    assert apart(drawn(told, one_step), drawn(model, one_step)) > 0.01
    assert "fits. It is Chroma, and all of its" in describe_loaded(adapter, model)


@pytest.mark.parametrize(("mark", "name"), [({"yak_mlp": True}, "Ovis-Image"), ({"vec_in_dim": None}, "LongCat-Image")])
def test_a_relative_that_no_adapter_is_for_is_refused_by_its_name(mark, name):
    adapter = host_adapter(flux_adapter("XLabs FLUX", Blocks(1, 1)))
    with pytest.raises(IPAdapterError, match=f"is for FLUX.1 .*, but the model is {name} "):
        apply_image_prompt(relative(**mark), adapter, flux_prompt(), Strength())


def test_a_model_with_blocks_of_its_own_is_refused_by_its_name():
    class ComfyFluxWrapper(torch.nn.Module):
        """As Nunchaku's is called."""

    with pytest.raises(IPAdapterError, match=r"this model \(ComfyFluxWrapper\) is Nunchaku's FLUX, in which no patch"):
        require_layers(ComfyFluxWrapper(), "'x' is for FLUX.1")
