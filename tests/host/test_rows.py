"""Other packs that lay rows out anew: regions before the attention, tiles along the batch, calls cut in two.

Each is written here after what the pack is documented to do. In the neutral setting, the same text in every region and
every tile the whole picture, the result is the one without the pack.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.prompts.prompt import Order
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.small import LEAST, make_pair
from tests.world import SMALLEST, Settings, adapter_file, conditioning, host_adapter, picture
from tools.bench import counting

COND, UNCOND = 0, 1
TEXTS = (conditioning(LEAST, 11), conditioning(LEAST, 12))
ALIKE = (TEXTS[0], TEXTS[0])
RAMP = WeightCurve(((0.0, 1.0), (1.0, 0.2)))
LEFT = torch.zeros(1, 128, 128)
LEFT[..., :64] = 1
EACH_ITS_OWN = torch.rand(2, 128, 128, generator=torch.Generator().manual_seed(5)).round()


def bare():
    return make_pair(LEAST).host


def apply(strength=None, images=1, order=Order.TOGETHER, mask=None, model=None, seed=3):
    prompt = image_prompt(images, seed)
    prompt = replace(prompt, parts=(replace(prompt.parts[0], order=order),))
    adapter = host_adapter(adapter_file(LEAST, "base"))
    return apply_image_prompt(model or bare(), adapter, prompt, strength or Strength(), mask)


def framed(**kwargs):
    """A reference for each picture of a batch."""
    return apply(images=2, order=Order.FRAME_BY_FRAME, **kwargs)


PROMPTED = {
    "none": bare,
    "one image": apply,
    "a mask": lambda: apply(mask=LEFT),
    "a mask a picture": lambda: apply(mask=EACH_ITS_OWN),
    "a curve": lambda: apply(Strength(curves=(RAMP,))),
    "a window": lambda: apply(Strength(end=0.5)),
    "frame by frame": framed,
    "weights by picture": lambda: apply(Strength(frames=(1.0, 0.2))),
    "two": lambda: apply(seed=4, model=apply()),
}


@cache
def drawn(prompted: str, settings: Settings) -> torch.Tensor:
    """What an image prompt makes without another pack, or no image prompt at all."""
    return picture(PROMPTED[prompted](), LEAST, settings, conds=TEXTS)


class Regions:
    """Repeats the positive's rows once for each region's text before the attention, and averages them after it."""

    def __init__(self, texts) -> None:
        self.texts = [text[0][0] for text in texts]
        self.pictures = 0

    def before(self, q, k, v, options):
        places = options["cond_or_uncond"]
        self.pictures = len(q) // len(places)
        rows = [self.rows_of(*parts) for parts in zip(places, q.chunk(len(places)), k.chunk(len(places)), strict=True)]
        queries, keys = (torch.cat(parts) for parts in zip(*rows, strict=True))
        self.tell(options)
        return queries, keys, keys

    def rows_of(self, place, q, k):
        if place == UNCOND:
            return q, k
        return q.repeat(len(self.texts), 1, 1), torch.cat([text.repeat(self.pictures, 1, 1) for text in self.texts])

    def tell(self, options) -> None:
        """These say nothing of it."""

    def after(self, out, options):
        made, rows = [], iter(out.split(self.pictures))
        for place in self.places(options):
            parts = list(itertools.islice(rows, 1 if place == UNCOND else len(self.texts)))
            made.append(torch.stack(parts).mean(0))
        return torch.cat(made)

    def places(self, options):
        return options["cond_or_uncond"]

    def on(self, model):
        model = model.clone()
        model.set_model_attn2_patch(self.before)
        model.set_model_attn2_output_patch(self.after)
        return model


class TellingRegions(Regions):
    """These correct `cond_or_uncond` in place until the attention is over."""

    def tell(self, options):
        places = options["cond_or_uncond"]
        places[:] = [p for place in places for p in [place] * (1 if place == UNCOND else len(self.texts))]

    def places(self, options):
        found = iter(list(options["cond_or_uncond"]))
        restored = []
        for place in found:
            restored.append(place)
            repeated = 0 if place == UNCOND else len(self.texts) - 1
            assert all(next(found) == place for _ in range(repeated))
        options["cond_or_uncond"][:] = restored
        return restored


class NegativesToo(Regions):
    """These repeat the negative's rows as well."""

    def rows_of(self, place, q, k):
        count = len(self.texts)
        return super().rows_of(COND, q, k) if place == COND else (q.repeat(count, 1, 1), k.repeat(count, 1, 1))

    def after(self, out, options):
        stacked = out.view(len(options["cond_or_uncond"]), len(self.texts), self.pictures, *out.shape[1:])
        return stacked.mean(1).flatten(0, 1)


def stacked(model, tiles: int = 3, shift: int = 0):
    """A sampler of tiles, several a call: [tile 1: cond, uncond, tile 2: cond, uncond]; every tile is the whole.

    With a shift each is moved sideways by so many latent pixels more than the one after it.
    """
    model = model.clone()

    def wrapper(function, given):
        x, t, c = given["input"], given["timestep"], given["c"]
        repeated = {key: repeat_rows(value, tiles, len(x)) for key, value in c.items()}
        shown = torch.cat([x.roll(shift * (tiles - 1 - tile), -1) for tile in range(tiles)])
        return function(shown, t.repeat(tiles), **repeated).chunk(tiles)[-1]

    model.set_model_unet_function_wrapper(wrapper)
    return model


def repeat_rows(value, times: int, rows: int):
    is_rows = isinstance(value, torch.Tensor) and len(value) == rows
    return value.repeat(times, *[1] * (value.ndim - 1)) if is_rows else value


def cut_in_two(model, uuids: bool):
    """A wrapper that calls the model once for each conditioning; the younger uuids it may not know."""
    model = model.clone()

    def wrapper(function, given):
        x, t, c, places = given["input"], given["timestep"], given["c"], given["cond_or_uncond"]
        count = len(x) // len(places)
        made = []
        for index, place in enumerate(places):
            rows = slice(index * count, (index + 1) * count)
            options = c["transformer_options"] | {"cond_or_uncond": [place]}
            options |= {"uuids": [options["uuids"][index]]} if uuids else {}
            own = {
                key: value[rows] if torch.is_tensor(value) and len(value) == len(x) else value
                for key, value in c.items()
            }
            made.append(function(x[rows], t[rows], **(own | {"transformer_options": options})))
        return torch.cat(made)

    model.set_model_unet_function_wrapper(wrapper)
    return model


NEUTRAL = {
    "regions that say nothing": lambda model: Regions([TEXTS[0]] * 3).on(model),
    "regions that tell": lambda model: TellingRegions([TEXTS[0]] * 2).on(model),
    "regions that repeat negatives": lambda model: NegativesToo([TEXTS[0]] * 2).on(model),
    "tiles": stacked,
    "calls cut in two": lambda model: cut_in_two(model, uuids=True),
    "calls cut in two without their names": lambda model: cut_in_two(model, uuids=False),
}


@pytest.mark.parametrize("pack", NEUTRAL)
def test_these_packs_alone_change_nothing(pack):
    settings = replace(SMALLEST, cfg=5.0, batch=2)
    alone, beside = drawn("none", settings), picture(NEUTRAL[pack](bare()), LEAST, settings, conds=TEXTS)
    assert (alone - beside).abs().max() <= 1e-5 * alone.abs().max()


OF_TWO = ("a mask a picture", "frame by frame", "weights by picture")
ALL = [name for name in PROMPTED if name != "none"]
BATCHES = [(name, batch) for name in ALL for batch in (1, 2) if batch == 2 or name not in OF_TWO]


@pytest.mark.parametrize(("prompted", "batch"), BATCHES)
@pytest.mark.parametrize("pack", NEUTRAL)
def test_beside_another_packs_rows_the_picture_is_the_one_without(pack, prompted, batch):
    settings = replace(SMALLEST, cfg=5.0, batch=batch)
    alone = drawn(prompted, settings)
    beside = picture(NEUTRAL[pack](PROMPTED[prompted]()), LEAST, settings, conds=TEXTS)
    assert (alone - beside).abs().max() <= 1e-5 * alone.abs().max()
    assert (alone - drawn("none", settings)).abs().max() > 0.01


@pytest.mark.parametrize("pack", ["regions that say nothing", "regions that tell", "regions that repeat negatives"])
def test_with_other_texts_in_the_regions_both_act(pack):
    regions = type(
        NEUTRAL[pack].__call__(bare()).model_options["transformer_options"]["patches"]["attn2_patch"][0].__self__
    )
    other = [conditioning(LEAST, 21), conditioning(LEAST, 22)]
    made = [
        picture(each, LEAST, SMALLEST, conds=TEXTS)
        for each in (bare(), apply(), regions(other).on(bare()), regions(other).on(apply()))
    ]
    assert all((one - two).abs().max() > 0.01 for one, two in itertools.combinations(made, 2))


def test_tiles_whose_texts_do_not_tell_are_told_apart_by_what_they_show():
    """Half of the picture, and the other half; a reference is followed as where the texts differ."""
    alone, beside = (picture(each, LEAST, SMALLEST, conds=ALIKE) for each in (apply(), stacked(apply(), shift=1)))
    assert (alone - beside).abs().max() <= 1e-5 * alone.abs().max()


def test_tiles_that_nothing_tells_apart_are_refused_in_a_sentence():
    with pytest.raises(IPAdapterError, match="does not say whose they are .* give them different texts"):
        picture(stacked(apply()), LEAST, SMALLEST, conds=ALIKE)


def twice(patch, q, k, v, options):
    """A layer that is handed every row twice."""
    return patch(*(rows.repeat(2, 1, 1) for rows in (q, k, v)), options)[: len(q)]


def test_rows_that_something_else_repeats_are_refused_in_a_sentence():
    model = apply()
    for place, patch in model.model_options["transformer_options"]["patches_replace"]["attn2"].items():
        model.set_model_attn2_replace(partial(twice, patch), *place)
    with pytest.raises(IPAdapterError, match="was given 4 rows in a call of 2: .* cannot tell whose they are"):
        picture(model, LEAST, SMALLEST, conds=TEXTS)


def test_recording_beside_repeated_rows_is_refused_in_a_sentence():
    model, _ = record_image_prompt(apply())
    with pytest.raises(IPAdapterError, match="cannot record beside a node that repeats rows"):
        picture(Regions([TEXTS[0]] * 2).on(model), LEAST, SMALLEST, conds=TEXTS)


@pytest.mark.parametrize("pack", ["regions that say nothing", "tiles"])
def test_rows_are_asked_for_once_a_run_and_no_step_more(pack):
    def waits(model, steps: int) -> int:
        return counting.syncs(
            counting.count_ops(lambda: picture(model, LEAST, replace(SMALLEST, steps=steps), conds=TEXTS))
        )

    more = [waits(NEUTRAL[pack](apply()), steps) - waits(NEUTRAL[pack](bare()), steps) for steps in (2, 6)]
    assert more[0] == more[1]
