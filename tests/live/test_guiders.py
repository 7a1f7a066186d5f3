"""Samplers with one, two and three conditionings: every one gets the image, or its absence, as its role asks.

Each guider is set up so that its formula comes down to plain CFG; a conditioning that got the wrong image tokens would
show.
"""

from __future__ import annotations

import pytest

from tests.live.graph import Link
from tests.live.studio import STEPS, Pixels, Studio, difference

pytestmark = pytest.mark.live

CFG = 5.0
SAME, OTHER = 0.5, 1.0


class Bench:
    """A graph with an image-prompted model and SamplerCustomAdvanced, its guider still to come."""

    def __init__(self, studio: Studio, weight: float = 1.0) -> None:
        self.studio = studio
        self.graph = studio.light().change("ApplyIPAdapter", weight=weight)
        self.model = self.graph.output("ApplyIPAdapter")
        self.positive, self.negative = ([node_id, 0] for node_id in self.graph.ids("CLIPTextEncode"))

    def draw(self, guider: Link) -> Pixels:
        graph = self.graph
        sampled = graph.add(
            "SamplerCustomAdvanced",
            noise=graph.add("RandomNoise", noise_seed=3),
            guider=guider,
            sampler=graph.add("KSamplerSelect", sampler_name="euler"),
            sigmas=graph.add("BasicScheduler", model=self.model, scheduler="simple", steps=STEPS, denoise=1.0),
            latent_image=graph.output("EmptyLatentImage"),
        )
        return self.studio.draw(graph.change("VAEDecode", samples=sampled))

    def cfg_guider(self, cfg: float = CFG) -> Link:
        return self.graph.add("CFGGuider", model=self.model, positive=self.positive, negative=self.negative, cfg=cfg)


@pytest.fixture(scope="module")
def by_cfg(studio: Studio) -> Pixels:
    bench = Bench(studio)
    return bench.draw(bench.cfg_guider())


def test_the_image_prompt_acts_through_a_guider(studio: Studio, by_cfg: Pixels) -> None:
    bench = Bench(studio, weight=0)
    assert difference(by_cfg, bench.draw(bench.cfg_guider())) > OTHER


def test_cfg_guider_is_the_ksampler(studio: Studio, by_cfg: Pixels) -> None:
    settings = {"seed": 3, "sampler_name": "euler", "scheduler": "simple", "cfg": CFG}
    assert (by_cfg == studio.draw(studio.light().change("KSampler", **settings))).all()


def test_perp_neg_without_negative_is_cfg_against_the_empty(studio: Studio, by_cfg: Pixels) -> None:
    bench = Bench(studio)
    guider = bench.graph.add(
        "PerpNegGuider",
        model=bench.model,
        positive=bench.positive,
        negative=bench.negative,
        empty_conditioning=bench.negative,
        cfg=CFG,
        neg_scale=0.0,
    )
    assert difference(by_cfg, bench.draw(guider)) < SAME


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_dual_cfg_with_the_negative_in_the_middle_is_cfg(style: str, studio: Studio, by_cfg: Pixels) -> None:
    """The host counts the middle conditioning as a negative one; alike, it and the negative cancel out."""
    bench = Bench(studio)
    scales = {"regular": (CFG, 2.0), "nested": (CFG, 1.0)}[style]
    guider = bench.graph.add(
        "DualCFGGuider",
        model=bench.model,
        cond1=bench.positive,
        cond2=bench.negative,
        negative=bench.negative,
        cfg_conds=scales[0],
        cfg_cond2_negative=scales[1],
        style=style,
    )
    assert difference(by_cfg, bench.draw(guider)) < SAME


def test_basic_guider_is_cfg_of_one(studio: Studio) -> None:
    one, other = Bench(studio), Bench(studio)
    basic = one.graph.add("BasicGuider", model=one.model, conditioning=one.positive)
    assert difference(one.draw(basic), other.draw(other.cfg_guider(1.0))) < SAME
