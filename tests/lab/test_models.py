"""The laboratory's committed weights, loaded through the host: every model opens, and the base follows its captions."""

import json

import pytest
import torch

from ipadapter.host.encoders.open_clip import load_encoder_file
from lab import files, store
from lab.classifier import Reading, agreement
from lab.quality import sample, structure
from lab.training import pictures_of
from lab.world import caption, held_out_scenes, train_scenes

LIMIT = 30_000_000  # bytes, everything committed


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in store.WEIGHTS.iterdir()) <= LIMIT


def test_the_report_tells_of_every_stage():
    report = json.loads(store.REPORT.read_text())
    assert {"clip", "vae", "base", "fine-tuned", "controlnet", "classifier"} <= set(report)


def test_pictures_come_back_from_the_autoencoder():
    pictures = pictures_of(held_out_scenes(8, 2)) / 255
    vae = files.load_vae()
    latents = vae.encode(pictures)
    assert latents.shape == (8, 4, 8, 8)
    assert (vae.decode(latents) - pictures).abs().mean() < 0.05
    assert 0.7 < (latents * files.load_latent_format().scale_factor).std() < 1.4


def test_the_classifier_reads_combinations_it_never_saw():
    scenes = held_out_scenes(96, 3)
    readings = files.load_classifier().read(pictures_of(scenes) / 255)
    assert all(agreement(scenes, readings, key) > 0.9 for key in ("shape", "colour", "style", "background"))


def test_the_text_encoder_tells_captions_apart():
    clip = files.load_clip()
    red, blue = (clip.encode(f"a {colour} star") for colour in ("red", "blue"))
    assert red.shape == (1, 24, 128)
    assert (red - blue).abs().max() > 0.1
    assert torch.equal(red, clip.encode("a red star"))


def test_the_image_encoder_gives_the_features_that_adapters_eat():
    features = files.load_clip_vision().encode_image(pictures_of(train_scenes(2, 0)) / 255)
    assert features.image_embeds.shape == (2, 128)
    assert features.penultimate_hidden_states.shape == (2, 65, 128)


def test_the_unpacked_clip_is_the_same_encoder(tmp_path):
    path = files.unpack_clip(tmp_path)
    pictures = pictures_of(train_scenes(2, 0)) / 255
    unpacked = load_encoder_file(path, path.name, "auto").encode_image(pictures).image_embeds
    assert torch.allclose(unpacked, files.load_clip_vision().encode_image(pictures).image_embeds, atol=1e-4)


def readings_of(model, scenes) -> list[Reading]:
    return files.load_classifier().read(sample(model, [caption(scene) for scene in scenes]))


@pytest.mark.parametrize("name", files.MODELS)
def test_a_model_draws_what_the_caption_says(name: str):
    scenes = train_scenes(24, 11)
    readings = readings_of(files.load_model(name), scenes)
    shares = {key: agreement(scenes, readings, key) for key in FLOORS}
    assert all(shares[key] >= floor for key, floor in FLOORS.items()), shares


def test_the_fine_tuned_model_draws_by_night():
    scenes = train_scenes(8, 12)
    assert {reading.domain for reading in readings_of(files.load_model("base"), scenes)} == {"day"}
    assert {reading.domain for reading in readings_of(files.load_model("fine-tuned"), scenes)} == {"night"}


def test_the_control_net_gives_the_structure():
    scenes = train_scenes(12, 13)
    pictures = sample(files.load_model("base"), ["a shape"] * len(scenes), extra=structure(scenes))
    assert agreement(scenes, files.load_classifier().read(pictures), "shape") >= 0.6


FLOORS = {"shape": 0.6, "colour": 0.7, "style": 0.5, "background": 0.7}  # well under what was measured, over chance
