"""Training FaceID adapters in a graph: faces are found in its pictures, and what was learned is applied and kept."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.adapters.face_settings import FaceVersion
from pack.ipadapter.adapters.families import FACE_ID, FACE_ID_PLUS
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.faces.reading import encode_faces
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.training.data import graph_pictures
from pack.ipadapter.host.training.node import train_adapter
from pack.ipadapter.host.training.watching import TrainingWatch
from pack.ipadapter.strength.strength import Strength
from pack.ipadapter.training.recipe import Recipe

from tests.faces import DrawnFace, draw_faces
from tests.host.test_encoder import encoder
from tests.small import MICRO, host_model, reference_weights
from tests.world import conditioning, picture

pytestmark = pytest.mark.usefixtures("output")  # where an adapter is kept that a run ends without

STEPS = 2


def people(*faces):
    """Pictures of these, of several sizes, as dataset nodes give them."""
    images = [draw_faces(200, 200 + 20 * number, *each) for number, each in enumerate(faces)]
    generator = torch.Generator().manual_seed(3)
    latents = [{"samples": torch.randn(1, 4, 16, 16, generator=generator) * 4} for _ in images]
    return graph_pictures(images, latents, [conditioning(MICRO, 20)], conditioning(MICRO, 9))


SOMEBODY = (DrawnFace(100, 100, 60),)
COUPLE = (DrawnFace(90, 100, 60, tint=30), DrawnFace(190, 60, 25))


def run(kind, pictures, model=None, clip_vision=None, insightface=None, start=None, rate=0.01):
    recipe = Recipe(kind, steps=STEPS, batch_size=2, learning_rate=rate)
    watch = TrainingWatch(STEPS, lambda line: None)
    model = model or host_model(MICRO, reference_weights(MICRO))
    return train_adapter(model, clip_vision, pictures, recipe, "auto", False, start, watch, insightface), watch


@pytest.mark.parametrize("kind", [FACE_ID, FACE_ID_PLUS], ids=lambda kind: kind.title)
def test_faces_are_learned_from_pictures_watched_applied_kept_and_gone_on_with(kind, analysis):
    seen = encoder() if kind is FACE_ID_PLUS else None
    model = host_model(MICRO, reference_weights(MICRO))
    plain = picture(model, MICRO)
    made, watch = run(kind, people(SOMEBODY, COUPLE), model, seen, analysis)
    assert torch.equal(picture(model, MICRO), plain) and watch.picture is not None
    prompt = encode_faces(analysis, draw_faces(200, 200, *SOMEBODY), seen).prompt
    drawn = picture(apply_image_prompt(model, made.adapter, prompt, Strength()), MICRO)
    assert not torch.equal(drawn, plain)
    path = save_to_output(made.adapter, "ipadapter/face")
    again = load_adapter_file(path, path.name)
    version = FaceVersion.V2 if kind is FACE_ID_PLUS else None
    assert (again.spec.family, again.spec.lora_rank, again.spec.version) == (kind, 128, version)
    assert again.provenance.encoder == prompt.encoder
    assert torch.equal(picture(apply_image_prompt(model, again, prompt, Strength()), MICRO), drawn)
    more, _ = run(kind, people(SOMEBODY), model, seen, analysis, again, rate=1e-8)
    assert (more.adapter.provenance.steps, more.adapter.spec.version) == (2 * STEPS, version)
    for key, tensor in more.adapter.patcher.model.lora.items():
        torch.testing.assert_close(tensor, again.patcher.model.lora[key], atol=1e-6, rtol=0)


def test_what_is_not_given_or_not_found_is_named(analysis):
    with pytest.raises(IPAdapterError, match=r"^insightface is empty: connect Load InsightFace\.$"):
        run(FACE_ID, people(SOMEBODY))
    with pytest.raises(IPAdapterError, match=r"^kind is FaceID Plus, which reads pictures with an image encoder: conn"):
        run(FACE_ID_PLUS, people(SOMEBODY), insightface=analysis)
    with pytest.raises(IPAdapterError, match=r"^no face was found in image 2 of 2 \(220×200 pixels\)"):
        run(FACE_ID, people(SOMEBODY, ()), insightface=analysis)
