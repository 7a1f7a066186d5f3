"""Training FaceID with the command: its LoRA goes on to the bit, and faces are read from pictures or from files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from insightface.app import FaceAnalysis
from PIL import Image
from safetensors.torch import load_file

from ipadapter.adapters.checkpoint import read_checkpoint
from ipadapter.adapters.face_settings import FaceVersion
from ipadapter.adapters.families import FACE_ID, FACE_ID_PLUS
from ipadapter.adapters.features import features_for
from ipadapter.adapters.identify import identify
from ipadapter.adapters.provenance import Provenance
from ipadapter.backbones.backbone import CrossAttentionLayer
from ipadapter.commands.train.config import read_config
from ipadapter.commands.train.encoding import Settings, fill, make_plan, skipped
from ipadapter.commands.train.examples import open_set
from ipadapter.commands.train.listing import list_folder
from ipadapter.commands.train.pictures import open_training_picture
from ipadapter.commands.train.start import run_config
from ipadapter.errors import IPAdapterError
from ipadapter.files.tensors import read_metadata
from ipadapter.training.fresh import new_spec
from tests.faces import DrawnFace, draw_faces, save_picture, write_pack
from tests.host.test_encoder import another
from tests.host.test_train_cli import assert_same_bits
from tests.host.test_train_validation import lines, noise
from tests.host.train_cli_world import Job, SmallEncoders, carry_out
from tests.naming import ROOT
from tests.plain.test_metrics import ours_model, saved

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerate")]

FIRST_OF_TWO = "checkpoints/step-000002/ip-adapter-step-000002.safetensors"
KEYS = {f"to_{one}_lora.{end}.weight" for one in ("q", "k", "v", "out") for end in ("down", "up")}


def test_the_lora_learns_and_goes_on_to_the_very_same_bits_with_its_average_and_beside_validation(tmp_path):
    for number in range(4):
        (tmp_path / "data").mkdir(exist_ok=True)
        noise(tmp_path / "data" / f"{number}.png", number)
        (tmp_path / "data" / f"{number}.txt").write_text(f"a picture {number}")
    whole = Job(str(tmp_path / "data"), str(tmp_path / "one"), kind=FACE_ID.title, ema_decay=0.5, learning_rate=1e-2)
    drawn = replace(whole, folder=str(tmp_path / "two"), references=str(tmp_path / "data"), checkpoint_every=3)
    for job in (whole, replace(drawn, terminate_at=3), drawn):
        carry_out(job)
    assert_same_bits(tmp_path / "one", tmp_path / "two")
    averages = [load_file(tmp_path / name / "ip-adapter-ema.safetensors") for name in ("one", "two")]
    last = load_file(tmp_path / "one" / "ip-adapter.safetensors")
    assert all(torch.equal(averages[0][key], averages[1][key]) for key in last)
    lora = {key: tensor for key, tensor in last.items() if "_lora." in key}
    assert {key.split(".", 2)[2] for key in lora} == KEYS and lora["ip_adapter.0.to_q_lora.down.weight"].shape[0] == 128
    assert all(tensor.abs().max() > 0 for tensor in lora.values()), "what began as zero has moved"
    assert not torch.equal(averages[0]["ip_adapter.1.to_k_lora.up.weight"], last["ip_adapter.1.to_k_lora.up.weight"])
    scores = [line["clip_i"] for line in lines(drawn)]
    assert len(scores) == 3 and len(set(scores)) == 3


def test_face_and_picture_are_learned_together_and_go_on_to_the_very_same_bits(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(4):
        noise(tmp_path / "data" / f"{number}.png", number)
        (tmp_path / "data" / f"{number}.txt").write_text(f"a picture {number}")
    whole = Job(str(tmp_path / "data"), str(tmp_path / "one"), 4, kind=FACE_ID_PLUS.title, learning_rate=1e-2)
    again = replace(whole, folder=str(tmp_path / "two"))
    for job in (whole, replace(again, terminate_at=2), again):
        carry_out(job)
    assert_same_bits(tmp_path / "one", tmp_path / "two")
    file = tmp_path / "one" / "ip-adapter.safetensors"
    spec = Provenance.read(read_metadata(file)).told(identify(read_checkpoint(file)))
    assert (spec.family, spec.version, spec.lora_rank) == (FACE_ID_PLUS, FaceVersion.V2, 128)
    first, last = (load_file(tmp_path / "one" / path) for path in (FIRST_OF_TWO, "ip-adapter.safetensors"))
    assert min(float((last[key] - first[key]).abs().max()) for key in last) > 0, "every tensor learns"


@pytest.fixture
def people(tmp_path) -> Path:
    """Two faces, the second beside a smaller one, and a picture of nobody."""
    folder = tmp_path / "people"
    folder.mkdir()
    save_picture(draw_faces(200, 200, DrawnFace(100, 100, 60)), folder / "a.png")
    save_picture(draw_faces(200, 260, DrawnFace(90, 100, 60, tint=30), DrawnFace(220, 60, 25)), folder / "b.png")
    Image.new("RGB", (120, 120)).save(folder / "nobody.png")
    for name in ("a", "b", "nobody"):
        (folder / f"{name}.txt").write_text("a face")
    return folder


def encoders_of(analysis: FaceAnalysis) -> SmallEncoders:
    """The small encoders, with faces in place of pictures."""
    from ipadapter.host.training.sight import FaceSight

    class FaceEncoders(SmallEncoders):
        features = FaceSight(analysis).features
        no_picture = FaceSight(analysis).no_picture

    return FaceEncoders()


def test_training_sees_what_encode_face_prompt_gives(analysis, people):
    """The embedding, and the encoder's hidden states of the face cut out upright; and what stands for nobody."""
    from ipadapter.host.faces.reading import encode_faces
    from ipadapter.host.training.sight import training_sight

    pictures = [open_training_picture((people / f"{name}.png").read_bytes(), 32).whole for name in ("a", "b")]
    encoder = another()  # one that no other tests have asked
    sight = training_sight(FACE_ID_PLUS, encoder, analysis)
    layers = (CrossAttentionLayer(("middle", 0, 0), 64, 64, 4),)
    spec = new_spec("new", FACE_ID_PLUS, 4, sight.no_picture()[-1].shape[-1], layers)
    for number, picture in enumerate(pictures):
        prompt = encode_faces(analysis, picture, encoder).prompt
        shown, nobody = features_for(spec, prompt, prompt.parts[0])
        for seen, row, zero, none in zip(sight.features(pictures), shown, nobody, sight.no_picture(), strict=False):
            torch.testing.assert_close(seen[number : number + 1], row, atol=1e-5, rtol=0)
            assert torch.equal(zero, none)
        assert sight.label == prompt.encoder
    with pytest.raises(IPAdapterError, match=r"^kind is FaceID Plus, which reads pictures with an .*: connect clip_v"):
        training_sight(FACE_ID_PLUS, None, analysis)
    with pytest.raises(IPAdapterError, match=r"^insightface is empty: connect Load InsightFace"):
        training_sight(FACE_ID_PLUS, encoder, None)


def plan_of(folder: Path, **settings):
    kept = Settings(32, torch.float32, 2, 3, reads_faces=True, **settings)
    return make_plan(list_folder(folder, "txt"), ("faces",), kept, folder.parent / "cache")


def test_the_largest_face_of_each_picture_is_kept_and_a_picture_of_nobody_named(analysis, people):
    with pytest.raises(IPAdapterError, match=r"^1 of 3 pictures cannot be used \(nobody\.png: no face was found in"):
        fill(plan_of(people), encoders_of(analysis))
    plan = plan_of(people, skip_bad=True)
    fill(plan, encoders_of(analysis))
    assert [name for name, _ in skipped(plan)] == ["nobody.png"]
    examples = open_set(plan)
    (kept,) = examples.features([0, 1, 1], [False, False, True])
    for number, name in enumerate(("a", "b")):
        picture = np.asarray(Image.open(people / f"{name}.png"))[..., ::-1]
        largest = max(analysis.get(np.ascontiguousarray(picture)), key=lambda face: face.bbox[2] - face.bbox[0])
        torch.testing.assert_close(kept[number], torch.from_numpy(largest.normed_embedding), atol=1e-6, rtol=0)
    assert torch.equal(kept[2], torch.zeros(512))


def test_embeddings_beside_the_pictures_are_taken_as_they_are_but_for_their_length(people):
    embedding = np.random.default_rng(1).normal(size=(1, 512)).astype(np.float32)
    np.save(people / "a.npy", 3 * embedding)
    np.save(people / "b.npy", np.zeros(7))
    sentence = r"^2 of 3 pictures cannot be used \(b\.png: b\.npy holds no face .*nobody\.png: there is no nobody\.npy"
    with pytest.raises(IPAdapterError, match=sentence):
        fill(plan_of(people, face_embeddings=True), SmallEncoders())
    plan = plan_of(people, face_embeddings=True, skip_bad=True)
    fill(plan, SmallEncoders())
    ((kept,),) = open_set(plan).features([0], [False])
    torch.testing.assert_close(kept, torch.from_numpy(embedding[0] / np.linalg.norm(embedding)))
    (people / "b.npy").write_bytes(b"\x93NUMPY, not")
    assert plan_of(people, face_embeddings=True).cache.folder != plan.cache.folder, "another file is another cache"


def test_a_configuration_makes_a_face_adapter_of_pictures_and_draws_whoever_has_a_face(
    people, tmp_path, capsys, monkeypatch
):
    import folder_paths

    from ipadapter.host.adapters.adapter import load_adapter_file

    write_pack(tmp_path / "packs" / "models" / "small")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path / "packs")], set()))
    saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    checkpoint = (ROOT / ".models" / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors").as_posix()
    (tmp_path / "config.toml").write_text(f"""
        [model]
        checkpoint = "{checkpoint}"
        clip_vision = "clip.safetensors"
        insightface = "small"
        kind = "FaceID Plus"
        [data]
        folder = "people"
        resolution = 64
        skip_bad = true
        [training]
        steps = 1
        [validation]
        references = "people"
        prompts = "a face"
        steps = 1
        [output]
        folder = "out"
        tensorboard = false
    """)
    made = run_config(read_config(tmp_path / "config.toml")).file
    told = "2 pictures, 1 left out, 1 of those to draw left out, named in skipped.txt, 1 steps in all"
    assert told in capsys.readouterr().out
    adapter = load_adapter_file(made, made.name)
    assert str(adapter.spec) == "FaceID Plus adapter for SD1.5, 16 layers, tokens: 4"
    assert (adapter.spec.version, adapter.provenance.encoder) == (FaceVersion.V2, "InsightFace small and clip")
    drawn = [json.loads(line) for line in (tmp_path / "out" / "validation.jsonl").read_text().splitlines()]
    assert [[shot["reference"] for shot in line["pictures"]] for line in drawn] == [["a.png", "b.png"]] * 2
    assert (tmp_path / "out" / "skipped.txt").read_text().startswith("nobody.png\tno face was found")
    (tmp_path / "drawn").mkdir()
    shutil.copy(people / "nobody.png", tmp_path / "drawn")
    text = (tmp_path / "config.toml").read_text().replace('references = "people"', 'references = "drawn"')
    (tmp_path / "config.toml").write_text(text)
    sentence = r"^validation has 1 pictures to draw, and all of them are left out for want of a face: name others in"
    with pytest.raises(IPAdapterError, match=sentence):
        run_config(read_config(tmp_path / "config.toml"))


def test_a_configuration_makes_a_face_adapter_that_loads_here_with_its_lora(people, tmp_path):
    from ipadapter.host.adapters.adapter import load_adapter_file

    for number, name in enumerate(("a", "b", "nobody")):
        np.save(people / f"{name}.npy", np.random.default_rng(number).normal(size=512))
    checkpoint = (ROOT / ".models" / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors").as_posix()
    (tmp_path / "config.toml").write_text(f"""
        model = {{ checkpoint = "{checkpoint}", kind = "FaceID" }}
        data = {{ folder = "people", resolution = 64, face_embeddings = true }}
        training = {{ steps = 1 }}
        validation = {{ held_out = 1, steps = 1 }}
        output = {{ folder = "out", tensorboard = false }}
    """)
    made = run_config(read_config(tmp_path / "config.toml")).file
    adapter = load_adapter_file(made, made.name)
    assert str(adapter.spec) == "FaceID adapter for SD1.5, 16 layers, tokens: 4" and adapter.spec.lora_rank == 128
    assert (adapter.provenance.encoder, adapter.provenance.steps) == ("face embeddings from files", 1)
    drawn = [json.loads(line) for line in (tmp_path / "out" / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in drawn] == [0, 1] and not any("failed" in line for line in drawn)
    assert drawn[0]["measured_with"] is None and "clip_i" not in drawn[0], "nothing here sees pictures"
