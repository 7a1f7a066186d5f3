"""Other packs' patches before and behind ours: both act, what cannot is said where the user looks, and nothing leaks.

Each is written here after what the pack is documented to do.
"""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import comfy.samplers
import folder_paths
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy_execution.utils import CurrentNodeContext
from comfy_extras.nodes_advanced_samplers import sample_lcm_upscale
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.describing import describe_loaded
from pack.ipadapter.host.library.finding import Finder
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.host.training.frozen import trainable_layers
from pack.ipadapter.strength.strength import Strength
from pack.nodes.strength import LEVEL_INPUTS, ImagePromptLayers

from tests.image_prompts import image_prompt
from tests.small import MICRO, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, noise_for, picture
from tools.bench import counting

ONE_STEP = Settings(steps=1, cfg=4.0)
ALWAYS = {"sigma_start": 999999999.9, "sigma_end": 0.0}
ATTN2 = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2"


def bare():
    return make_pair(MICRO).host


def apply(model=None, weight=1.0, seed=3, mask=None):
    adapter = host_adapter(adapter_file(MICRO, "base"))
    return apply_image_prompt(model or bare(), adapter, image_prompt(seed=seed), Strength(weight), mask)


def drawn(model):
    return picture(model, MICRO, ONE_STEP)


def places():
    return list(patches(apply()))


def patches(model):
    return model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})


class Theirs:
    """An attention over tokens of its own, to which others can be added, as the packs with `add` keep it."""

    def __init__(self, function, **settings) -> None:
        self.functions = [(function, settings)]

    def add(self, function, **settings) -> None:
        self.functions.append((function, settings))

    def __call__(self, q, k, v, options):
        out = optimized_attention(q, k, v, options["n_heads"])
        for function, settings in self.functions:
            out = out + function(out, q, k, v, options, **settings)
        return out


def face(out, q, k, v, options, weight=1.0, **settings):
    """What such a pack adds."""
    return weight * q.roll(1, -1)


def with_faces(model, keys=None, **settings):
    """Adds to whatever stands at a layer, and where nothing does puts its own there."""
    model = model.clone()
    for key in keys or places():
        there = patches(model)
        if key in there:
            there[key].add(face, **(ALWAYS | settings))
        else:
            options = dict(model.model_options["transformer_options"])
            replaced = dict(options.get("patches_replace", {}))
            options["patches_replace"] = replaced | {"attn2": there | {key: Theirs(face, **(ALWAYS | settings))}}
            model.model_options["transformer_options"] = options
    return model


def test_what_is_added_behind_acts_and_so_does_the_image_prompt():
    made = [drawn(model) for model in (bare(), apply(), with_faces(bare()), with_faces(apply()))]
    assert all((one - two).abs().max() > 0.01 for one, two in itertools.combinations(made, 2))


def near(one, other) -> bool:
    """Equal but for the order of sums."""
    return bool((one - other).abs().max() <= 1e-5 * one.abs().max())


def test_the_order_makes_no_difference():
    assert near(drawn(with_faces(apply())), drawn(apply(with_faces(bare()))))


def test_what_is_added_to_one_model_of_a_graph_does_not_reach_another():
    ours = apply()
    before = drawn(ours)
    with_faces(ours)
    with_faces(ours.clone())
    assert torch.equal(drawn(ours), before)


def test_what_was_added_stays_when_another_image_prompt_is_applied_or_recorded():
    faced = with_faces(apply())
    twice, other = apply(faced, seed=4), with_faces(apply(apply(), seed=4))
    assert near(drawn(twice), drawn(other))
    assert torch.equal(drawn(record_image_prompt(faced)[0]), drawn(faced))


def test_what_is_added_acts_between_its_noise_levels_only():
    never = with_faces(apply(), sigma_start=0.0, sigma_end=-1.0)
    assert torch.equal(drawn(never), drawn(apply()))


def test_what_always_acts_makes_no_step_wait():
    def waits(model) -> int:
        return counting.syncs(counting.count_ops(lambda: drawn(model)))

    assert waits(with_faces(apply())) == waits(apply())


def test_what_acts_for_a_while_makes_a_step_wait_once_and_no_layer_more():
    def waits(steps: int, **settings) -> int:
        model, run = with_faces(apply(), **settings), Settings(steps=steps)
        return counting.syncs(counting.count_ops(lambda: picture(model, MICRO, run)))

    window = {"sigma_start": 10.0, "sigma_end": 1.0}
    assert [waits(steps, **window) - waits(steps) for steps in (2, 5)] == [2, 5]


def test_a_patch_of_a_whole_block_behind_ours_is_kept():
    """The host asks for a layer's patch first, so that one under the block's key would be lost."""
    blocks = [place[:2] for place in places()]
    behind, before = drawn(with_faces(apply(), blocks)), drawn(apply(with_faces(bare(), blocks)))
    assert near(behind, before)
    assert (behind - drawn(apply())).abs().max() > 0.01


def test_of_two_packs_patches_the_one_at_the_layer_acts_with_ours_as_without():
    """The host's own order: a layer's patch goes before its block's, whichever came first."""

    def at_layer(q, k, v, options):
        return optimized_attention(q, k, v, options["n_heads"]) + q.flip(-1)

    def with_patches(model, keys, patch):
        model = model.clone()
        for key in keys:
            model.set_model_attn2_replace(patch, *key)
        return model

    blocks = [place[:2] for place in places()]
    layered = with_patches(bare(), places(), at_layer)
    assert near(drawn(with_faces(layered, blocks)), drawn(layered))
    assert near(drawn(with_faces(apply(layered), blocks)), drawn(apply(layered)))
    assert near(drawn(apply(with_faces(layered, blocks))), drawn(apply(layered)))


def test_of_two_patches_for_a_block_the_later_one_acts():
    blocks = [place[:2] for place in places()]
    model = apply(with_faces(bare(), blocks))
    for block in blocks:
        model.set_model_attn2_replace(lambda q, k, v, o: optimized_attention(q, k, v, o["n_heads"]), *block)
    assert near(drawn(model), drawn(apply()))


def compiled(model):
    """Through the host's node, without generating code."""
    torch._dynamo.reset()
    return TorchCompileModel.execute(model, "eager").result[0]


def log_of(caplog, model) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        drawn(model)
    return lines_of_ours(caplog)


def lines_of_ours(caplog) -> list[str]:
    """What this pack has logged; the host warns of a leak when it finds a clone of a model that others still use."""
    return [record.message for record in caplog.records if "ipadapter" in Path(record.pathname).parts]


def wrapped(model, calls: bool):
    """A later node in our place, which calls what it found there or does not."""
    model = model.clone()
    for place, patch in patches(model).items():

        def later(q, k, v, options, patch=patch):
            own = optimized_attention(q, k, v, options["n_heads"])
            return patch(q, k, v, options) if calls else own

        model.set_model_attn2_replace(later, *place)
    return model


def test_a_patch_that_calls_ours_is_no_alarm(caplog):
    model = wrapped(apply(), calls=True)
    assert torch.equal(drawn(model), drawn(apply()))
    assert not log_of(caplog, model)


def test_a_patch_that_does_not_is_told_once_a_run(caplog):
    assert [line for line in log_of(caplog, wrapped(apply(), calls=False)) if "had no effect" in line]
    assert len(log_of(caplog, wrapped(apply(), calls=False))) == 1


def test_of_some_layers_lost_it_is_told_how_many(caplog):
    model = apply()
    model.set_model_attn2_replace(lambda q, k, v, o: optimized_attention(q, k, v, o["n_heads"]), *places()[0])
    (line,) = log_of(caplog, model)
    assert f"acted in only {len(places()) - 1} of {len(places())} layers" in line


def test_a_forward_that_calls_no_patches_is_told(caplog):
    model = apply()

    def forward(executor, x, timestep, context, y, control, options, **kwargs):
        return executor(x, timestep, context, y, control, options | {"patches_replace": {}}, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "forward", forward)
    (line,) = log_of(caplog, model)
    assert "had no effect" in line


@pytest.mark.parametrize("more", [1, 2])  # two more are as many again, which would be dealt out as longer texts
def test_a_sampler_that_puts_texts_of_its_own_behind_the_others_is_refused_in_a_sentence(more):
    def put_behind(executor, x, timesteps, context, *rest, **kwargs):
        return executor(x, timesteps, torch.cat([context, context[-more:]]), *rest, **kwargs)

    model = apply()
    model.add_wrapper_with_key("diffusion_model", "theirs", put_behind)
    with pytest.raises(IPAdapterError, match=f"was given {2 + more} rows of text for 2 of the picture: a sampler"):
        drawn(model)


@pytest.mark.parametrize("made", [lambda model: model, compiled], ids=["plain", "compiled"])
def test_a_mask_stretched_over_tiles_is_told_once(made, caplog):
    mask = torch.zeros(1, 128, 128)
    mask[..., :64] = 1
    model = made(apply(mask=mask))

    def halves(function, given):
        rows = [function(part, given["timestep"], **given["c"]) for part in given["input"].chunk(2, -1)]
        return torch.cat(rows, -1)

    model.set_model_unet_function_wrapper(halves)
    (line,) = log_of(caplog, model)
    assert "the mask was stretched over each of them" in line


def test_a_node_that_samples_its_tiles_as_runs_of_their_own_is_told_once(caplog):
    """As Ultimate SD Upscale does; two nodes that sample once each are not."""
    mask = torch.zeros(1, 128, 128)
    mask[..., :64] = 1
    masked, plain = apply(mask=mask), apply()
    with caplog.at_level(logging.WARNING):
        for node, model in (("1", masked), ("2", masked), ("3", plain), ("3", plain)):
            with CurrentNodeContext("a prompt", node):
                drawn(model)
        assert not lines_of_ours(caplog)
        with CurrentNodeContext("a prompt", "4"):
            for _ in range(3):
                drawn(masked)
    (line,) = lines_of_ours(caplog)
    assert "samples more than once" in line


def test_a_sampler_that_enlarges_the_picture_has_no_tiles(caplog):
    mask = torch.zeros(1, 128, 128)
    mask[..., :64] = 1
    given = {"total_upscale": 2.0, "upscale_steps": 2, "upscale_method": "bilinear"}
    sampler = comfy.samplers.KSAMPLER(sample_lcm_upscale, extra_options=given)
    guider = comfy.samplers.CFGGuider(apply(mask=mask))
    guider.set_conds(conditioning(MICRO, 11), conditioning(MICRO, 12))
    sigmas = comfy.samplers.calculate_sigmas(bare().model.model_sampling, "normal", 4)
    with caplog.at_level(logging.WARNING):
        out = guider.sample(noise_for(ONE_STEP), torch.zeros(1, 4, 16, 16), sampler, sigmas, disable_pbar=True, seed=1)
    assert out.shape[-2:] == (32, 32) and not lines_of_ours(caplog)


class OtherAttention(torch.nn.Module):
    """Another pack's module in the place of a layer's attention, which keeps the attention to itself."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = [inner]
        self.heads = inner.heads

    def forward(self, x, context=None, value=None, **options):
        return self.inner[0](x, context=context, value=value, **options)


def replaced():
    model = bare().clone()
    model.add_object_patch(ATTN2, OtherAttention(bare().get_model_object(ATTN2)))
    return model


def test_a_module_that_another_model_left_in_the_place_of_an_attention_does_not_concern_a_clean_one():
    expected = drawn(apply())
    drawn(replaced())
    assert torch.equal(drawn(apply()), expected)


def test_a_model_whose_attention_is_another_packs_is_refused_in_a_sentence():
    with pytest.raises(IPAdapterError, match=r"in input block 1 .* \(OtherAttention, which has no to_q\)"):
        apply(replaced())


def search(model) -> str:
    """What Find IP-Adapter says of a model in an empty folder."""
    try:
        return str(Finder().find_adapter(model, "STANDARD (medium strength)"))
    except IPAdapterError as error:
        if "found no adapter for this model, a pruned SD1.5 (4 of 16 layers), in" not in str(error):
            raise
        return str(error)


LEVELS = dict.fromkeys(LEVEL_INPUTS, 1.0)
LOOKS = {
    "Find IP-Adapter": search,
    "Describe IP-Adapter": lambda model: describe_loaded(host_adapter(adapter_file(MICRO, "base")), model),
    "Image Prompt Layers": lambda model: ImagePromptLayers.execute(model, "linear", 1.0, "", None, **LEVELS),
    "Train IP-Adapter": trainable_layers,
}


@pytest.mark.parametrize("node", LOOKS)
def test_every_node_that_looks_at_layers_sees_the_models_own_or_says_whose_they_are(node, tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    drawn(replaced())
    assert LOOKS[node](bare())
    with pytest.raises(IPAdapterError, match=r"\(OtherAttention, which has no to_q\)"):
        LOOKS[node](replaced())


def test_such_a_module_behind_the_image_prompt_is_refused_before_sampling():
    model = apply()
    model.add_object_patch(ATTN2, OtherAttention(bare().get_model_object(ATTN2)))
    with pytest.raises(IPAdapterError, match="OtherAttention"):
        drawn(model)
