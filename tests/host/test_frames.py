"""Frames: a reference a picture, weights a picture, context windows and AnimateDiff's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.sampling import calls
from pack.ipadapter.host.sampling.frames import refuse_mismatch, seen_by
from pack.ipadapter.host.sampling.patching import APPLY_KEY, apply_image_prompt
from pack.ipadapter.prompts.prompt import ImagePrompt, Order
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.small import MICRO, host_model, make_pair, reference_weights
from tests.world import SMALLEST, Settings, adapter_file, host_adapter, predict, sample, windowed
from tools.bench import counting

TOLERANCE = 1e-5
FRAMES = 6


def frames_prompt(images: int = FRAMES) -> ImagePrompt:
    """Images that speak to one picture each."""
    prompt = image_prompt(images)
    return replace(prompt, parts=(replace(prompt.parts[0], order=Order.FRAME_BY_FRAME),))


def one_of(prompt: ImagePrompt, frame: int) -> ImagePrompt:
    """The prompt of one frame alone."""
    part = prompt.parts[0]
    return replace(prompt, parts=(replace(part, positive=part.positive[frame : frame + 1], order=Order.TOGETHER),))


def apply(prompt, family="base", mask=None, layout=MICRO, model=None, **strength):
    adapter = host_adapter(adapter_file(layout, family))
    return apply_image_prompt(model or make_pair(layout).host, adapter, prompt, Strength(**strength), mask)


def frame_of(outputs: torch.Tensor, frame: int, batch: int) -> torch.Tensor:
    """One picture of every conditioning."""
    return outputs.view(-1, batch, *outputs.shape[1:])[:, frame]


@pytest.mark.parametrize("family", ["base", "plus"])
def test_each_picture_follows_its_own_frame(family):
    prompt, settings = frames_prompt(3), replace(SMALLEST, batch=3, steps=1)
    call = sample(apply(prompt, family), MICRO, settings)[1][0]
    for frame in range(3):
        alone = sample(apply(one_of(prompt, frame), family), MICRO, settings)[1][0]
        difference = frame_of(call.output, frame, 3) - frame_of(alone.output, frame, 3)
        assert difference.abs().max() <= TOLERANCE
    assert (frame_of(call.output, 0, 3) - frame_of(alone.output, 0, 3)).abs().max() > 1e-3


def test_the_last_frame_is_held_where_there_are_fewer_than_pictures():
    prompt, settings = frames_prompt(2), replace(SMALLEST, batch=3, steps=1)
    call = sample(apply(prompt), MICRO, settings)[1][0]
    alone = sample(apply(one_of(prompt, 1)), MICRO, settings)[1][0]
    assert (frame_of(call.output, 2, 3) - frame_of(alone.output, 2, 3)).abs().max() <= TOLERANCE


def test_more_frames_than_pictures_are_refused_with_both_numbers():
    with pytest.raises(IPAdapterError, match=r"has 6 frames, but 2 picture\(s\) are sampled"):
        sample(apply(frames_prompt()), MICRO, replace(SMALLEST, batch=2))


def test_weights_by_frame_scale_each_pictures_prompt():
    weights, settings = (0.0, 0.5, -1.0), replace(SMALLEST, batch=3, steps=1)
    call = sample(apply(image_prompt(), frames=weights), MICRO, settings)[1][0]
    for frame, weight in enumerate(weights):
        alone = sample(apply(image_prompt(), weight=weight), MICRO, settings)[1][0]
        assert (frame_of(call.output, frame, 3) - frame_of(alone.output, frame, 3)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("mask", [None, "batch"])
def test_context_windows_keep_every_picture_its_frame(mask):
    """A picture's prediction depends on itself alone here, so windows must not change it.

    In float64: processors round float32 otherwise in batches of other sizes, and the random model makes much of it.
    """
    masks = None if mask is None else torch.rand(FRAMES, 128, 128, generator=torch.Generator().manual_seed(1))
    precise, weights = host_model(MICRO, reference_weights(MICRO), torch.float64), [0.2 * at for at in range(FRAMES)]
    model = apply(frames_prompt(), mask=masks, model=precise, frames=tuple(weights))
    settings = replace(SMALLEST, batch=FRAMES, steps=2)
    whole, _ = sample(model, MICRO, settings)
    parts, calls = sample(windowed(model, 2), MICRO, settings)
    assert {call.x.shape[0] // len(call.uuids) for call in calls} == {2}
    assert (whole - parts).abs().max() <= 10 * TOLERANCE


@pytest.mark.parametrize("dim", [2, 3])
def test_windows_over_rows_or_columns_cut_the_mask(dim):
    """Each window sees its own half of the mask: the same as a run on that half alone."""
    mask = torch.linspace(0, 1, 256).expand(1, 256, 256).clone()
    mask = mask if dim == 3 else mask.mT.contiguous()
    model = apply(image_prompt(), mask=mask)
    _, calls = sample(windowed(model, 16, dim), MICRO, Settings(size=(32, 32), steps=1, cfg=1.0))
    halves = mask.chunk(2, dim=dim - 1)
    assert len(calls) == 2
    for call in calls:
        assert call.x.shape[-2:] == ((32, 16) if dim == 3 else (16, 32))
        expected = [predict(apply(image_prompt(), mask=half.contiguous()), call) for half in halves]
        assert min((call.output - one).abs().max() for one in expected) <= TOLERANCE
        assert max((call.output - one).abs().max() for one in expected) > 1e-3


def test_tiles_that_say_no_place_are_told_of(caplog):
    """A wrapper of another pack that calls the model on a part of the picture."""
    model = apply(image_prompt(), mask=torch.ones(1, 128, 128))

    def tiled(function, args):
        halves = [function(part, args["timestep"], **args["c"]) for part in args["input"].chunk(2, dim=-1)]
        return torch.cat(halves, dim=-1)

    model.set_model_unet_function_wrapper(tiled)
    sample(model, MICRO, replace(SMALLEST, steps=1))
    assert "called on parts of the picture" in caplog.text


def test_animatediffs_indices_name_the_frames():
    assert seen_by({"ad_params": {"sub_idxs": [4, 5], "full_length": 8}}).frames(2) == (4, 5)
    assert seen_by({"ad_params": {"sub_idxs": None}}).frames(2) == (0, 1)
    assert seen_by({}).frames(3) == (0, 1, 2)


def test_a_window_that_names_other_pictures_than_there_are_is_refused():
    with pytest.raises(IPAdapterError, match="names 3 pictures, but the model was called with 2"):
        refuse_mismatch(seen_by({"ad_params": {"sub_idxs": [4, 5, 6]}}), 2)


def counted_run(pictures: int, steps: int) -> Settings:
    """As small as what is only counted may be."""
    return replace(SMALLEST, steps=steps, batch=pictures)


def upsamples(ops) -> int:
    """How often a mask was brought to a size."""
    return sum(count for name, count in ops.items() if "upsample_bicubic" in name)


@pytest.mark.parametrize("windows", [4, 9, 20])
@pytest.mark.parametrize("masks", [1, "one a picture"])
def test_a_mask_is_brought_to_its_sizes_once_a_window_however_many_windows_and_steps(masks, windows):
    mask = torch.rand(1 if masks == 1 else windows, 128, 128, generator=torch.Generator().manual_seed(1))
    model = windowed(apply(image_prompt(), mask=mask, layout=MICRO), 1)
    counted = [
        upsamples(counting.count_ops(lambda steps=steps: sample(model, MICRO, counted_run(windows, steps))))
        for steps in (1, 2)
    ]
    assert counted == [5 * windows] * 2


def held_by(model, settings, monkeypatch, room: int) -> tuple[int, int, int]:
    """Shapes of call that are kept at most, the bytes they take, and how many were made."""
    monkeypatch.setattr(calls, "ROOM", room)
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)
    seen, made = [], []

    def watch(executor, *args, **kwargs):
        seen.append((len(rows.made), sum(prepared.size for prepared in rows.made.values())))
        return executor(*args, **kwargs)

    make = calls.CallRows.make
    monkeypatch.setattr(calls.CallRows, "make", lambda self, call: made.append(call) or make(self, call))
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", watch)
    sample(model, MICRO, settings)
    assert rows.made == {} and rows.placed == {}
    return max(count for count, _ in seen), max(held for _, held in seen), len(made)


def test_what_windows_need_is_kept_as_far_as_there_is_room(monkeypatch):
    """Where there is little, the first windows keep theirs, and the others are made anew in each step."""
    windows, steps = 20, 3
    settings = counted_run(windows, steps)
    model = windowed(apply(frames_prompt(), mask=torch.ones(1, 128, 128), layout=MICRO), 1)
    count, held, made = held_by(model.clone(), settings, monkeypatch, 2**30)
    assert count == made == windows
    one = held // windows
    count, held, made = held_by(model.clone(), settings, monkeypatch, 12 * one)
    assert count == 12 and held <= 12 * one
    assert made == windows + (steps - 1) * (windows - 12)
    count, _, made = held_by(model.clone(), settings, monkeypatch, 0)
    assert count == 8 and made == windows + (steps - 1) * (windows - 8)


def test_what_is_kept_of_other_applications_makes_room_for_those_that_act_now(monkeypatch):
    """Of two prompts the second begins later: what was made for the first alone does not come again."""
    windows = 12
    early = apply(frames_prompt(), layout=MICRO)
    both = apply_image_prompt(
        early, host_adapter(adapter_file(MICRO, "base", 2)), image_prompt(), Strength(1.0, 0.5, 1.0)
    )
    _, held, _ = held_by(windowed(early, 1), counted_run(windows, 1), monkeypatch, 2**30)
    room = int(2.2 * held)  # for what both need, and not for that and what the first alone did
    count, held, made = held_by(windowed(both, 1), counted_run(windows, 6), monkeypatch, room)
    assert made == 2 * windows and windows <= count < 2 * windows and held <= room


def test_memory_grows_with_the_frames_and_not_with_windows_or_steps():
    model = apply(frames_prompt())
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)
    kept = []

    def watch(executor, *args, **kwargs):
        kept.append((len(rows.made), len(rows.placed)))
        return executor(*args, **kwargs)

    watched = windowed(model, 1)
    watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", watch)
    sample(watched, MICRO, replace(SMALLEST, batch=FRAMES, steps=4))
    assert max(made for made, _ in kept) <= 8 and max(placed for _, placed in kept) == 1
    assert rows.made == {} and rows.placed == {}
