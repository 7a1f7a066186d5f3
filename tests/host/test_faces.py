"""Faces through the real InsightFace, on a stand-in pack of the public files' interface."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import onnx
import pytest
import torch
from insightface.app import FaceAnalysis
from insightface.utils import face_align
from pack.ipadapter.combining import Combination, combine_prompts
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.faces import Crop, crop_side, find_faces, to_pixels
from pack.ipadapter.host import faces as host_faces
from pack.ipadapter.host.encoder import encode_image_prompt
from pack.ipadapter.host.faces import FaceReading, encode_faces, find_packs, load_pack, pack_names, providers_for
from pack.ipadapter.image_prompt import Order
from pack.ipadapter.pixels import Fit
from pack.ipadapter.prompt_files import read_prompt, write_prompt
from pack.nodes.faces import EncodeFacePrompt, LoadInsightFace

from tests.faces import PACK_FOLDER, Disc, draw_faces, make_pack
from tests.host.test_encoder import encoder

LARGE, SMALL = Disc(200, 220, 90), Disc(430, 120, 45, eyes=(232, 60, 220))
TWO = draw_faces(512, 400, SMALL, LARGE)
ONE = draw_faces(512, 400, LARGE)
NOBODY = draw_faces(320, 240)


@pytest.fixture(scope="session", autouse=True)
def stand_in_pack():
    make_pack()


@pytest.fixture(autouse=True)
def folder(monkeypatch) -> Path:
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(PACK_FOLDER)], set()))
    return PACK_FOLDER


@pytest.fixture(scope="module")
def analysis():
    """The library's own object, made by the library itself."""
    made = FaceAnalysis(str(PACK_FOLDER / "models" / "buffalo_l"), allowed_modules=["detection", "recognition"])
    made.prepare(ctx_id=-1, det_size=(640, 640))
    return made


def own_faces(analysis, image):
    """What the library itself finds, the largest first."""
    found = analysis.get(to_pixels(image[0]))
    return sorted(found, key=lambda face: -np.prod(face.bbox[2:] - face.bbox[:2]))


# Finding


def test_faces_are_found_where_they_are_the_largest_first(analysis):
    found = find_faces(analysis, TWO[0])
    assert len(found) == 2
    for face, disc in zip(found, (LARGE, SMALL), strict=True):
        assert np.abs(face.box - np.array(disc.box)).max() < 12
        assert np.abs(face.keypoints - disc.points.numpy()).max() < 12


def test_a_face_is_who_the_library_says_it_is_to_the_bit(analysis):
    ours, theirs = find_faces(analysis, TWO[0]), own_faces(analysis, TWO)
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one.embedding.numpy(), other.embedding)
        assert np.array_equal(one.keypoints, other.kps)


def test_a_face_that_fills_the_picture_is_found_with_a_border_around_it(analysis):
    close = Disc(150, 150, 190)
    image = draw_faces(300, 300, close)
    assert not own_faces(analysis, image)
    (face,) = find_faces(analysis, image[0])
    assert np.abs(face.box - np.array((0, 0, 300, 300))).max() < 40


def test_the_librarys_object_stays_as_it_was(analysis):
    def state():
        return analysis.det_model.input_size, list(analysis.det_model.input_sizes), analysis.det_model.det_thresh

    before = state()
    find_faces(analysis, NOBODY[0])
    encode_faces(analysis, TWO)
    assert state() == before


def test_transparency_is_looked_through(analysis):
    clear = torch.cat([ONE, torch.zeros(*ONE.shape[:3], 1)], dim=-1)
    assert torch.equal(find_faces(analysis, clear[0])[0].embedding, find_faces(analysis, ONE[0])[0].embedding)


# Prompts


def test_a_prompt_of_faces_alone_has_no_image_embedding(analysis):
    made = encode_faces(analysis, TWO)
    part = made.prompt.parts[0].positive
    assert part.image_embeds.shape == (1, 0) and part.penultimate is None
    assert np.array_equal(part.face[0].numpy(), own_faces(analysis, TWO)[0].embedding)
    assert torch.equal(made.prompt.zero_pixels.face, torch.zeros(1, 512))
    assert made.prompt.encoder == "InsightFace buffalo_l"


def test_the_picture_of_a_face_is_the_librarys_alignment(analysis):
    made = encode_faces(analysis, TWO)
    face = own_faces(analysis, TWO)[0]
    expected = face_align.norm_crop(to_pixels(TWO[0]), landmark=face.kps, image_size=224)[..., ::-1]
    assert made.pictures.shape == (1, 224, 224, 3)
    assert np.abs(made.pictures[0].numpy() * 255 - expected).max() < 0.01


def test_a_square_picture_is_cut_out_as_it_is(analysis):
    made = encode_faces(analysis, TWO, FaceReading(crop=Crop.SQUARE))
    middle = made.pictures[0, 112, 112] * 255
    assert made.pictures.shape == (1, 224, 224, 3) and torch.allclose(middle, torch.tensor([232.0, 180.0, 140.0]))


def test_the_encoder_sees_the_picture_of_the_face(analysis):
    vision = encoder()
    made = encode_faces(analysis, TWO, clip_vision=vision)
    alone = encode_image_prompt(vision, made.pictures, Fit.CROP)
    assert torch.equal(made.prompt.parts[0].positive.penultimate, alone.parts[0].positive.penultimate)
    assert torch.equal(made.prompt.zero_pixels.penultimate, alone.zero_pixels.penultimate)
    assert made.prompt.encoder == f"InsightFace buffalo_l and {alone.encoder}"


def test_pictures_of_faces_are_as_large_as_the_encoder_wants_them():
    assert [crop_side(size) for size in (224, 336, 384, 256, 378)] == [224, 336, 384, 256, 224]


def test_a_negative_picture_moves_the_encoder_away_and_no_face(analysis):
    vision = encoder()
    away = encode_faces(analysis, ONE, clip_vision=vision, negative=NOBODY).prompt.parts[0].negative
    assert torch.equal(away.face, torch.zeros(1, 512))
    assert torch.equal(away.penultimate, encode_image_prompt(vision, NOBODY, Fit.CROP).parts[0].positive.penultimate)


def test_another_face_is_chosen_by_its_rank(analysis):
    second = encode_faces(analysis, TWO, FaceReading(rank=1)).prompt.parts[0].positive.face
    assert np.array_equal(second[0].numpy(), own_faces(analysis, TWO)[1].embedding)


def test_a_batch_is_several_faces_with_weights_and_an_order(analysis):
    both = torch.cat([ONE, TWO])
    made = encode_faces(analysis, both, FaceReading(order=Order.FRAME_BY_FRAME, weights=(1.0, 0.5)))
    part = made.prompt.parts[0]
    assert len(part.positive) == 2 and part.weights == (1.0, 0.5) and part.order is Order.FRAME_BY_FRAME


@pytest.mark.parametrize(
    ("image", "rank", "sentence"),
    [
        (NOBODY, 0, r"there is no face to be found in image \(320×240 pixels\)"),
        (ONE, 1, r"image has 1 face\(s\), so none of rank 1: set face to at most 0"),
        (torch.cat([ONE, draw_faces(512, 400)]), 0, "no face to be found in picture 2 of 2 of image"),
    ],
)
def test_a_missing_face_is_named(analysis, image, rank, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        encode_faces(analysis, image, FaceReading(rank=rank))


def test_wrong_weights_are_refused_before_anything_is_read(analysis):
    with pytest.raises(IPAdapterError, match="weights"):
        encode_faces(analysis, NOBODY, FaceReading(weights=(1.0, 2.0, 3.0)))


def test_the_users_cancel_is_heard_between_pictures(analysis, monkeypatch):
    class CancelledError(Exception):
        pass

    def cancel():
        raise CancelledError

    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(CancelledError):
        encode_faces(analysis, ONE)


@pytest.mark.parametrize("vision", [None, "small"])
def test_a_saved_prompt_of_faces_comes_back_to_the_bit(analysis, vision, tmp_path):
    prompt = encode_faces(analysis, TWO, clip_vision=encoder() if vision else None).prompt
    back = read_prompt(write_prompt(tmp_path / "face.safetensors", prompt), "face.safetensors")
    assert back.encoder == prompt.encoder
    assert torch.equal(back.parts[0].positive.face, prompt.parts[0].positive.face)
    assert torch.equal(back.zero_pixels.face, prompt.zero_pixels.face)


def test_prompts_of_faces_can_be_averaged(analysis):
    one, other = (encode_faces(analysis, TWO, FaceReading(rank=rank)).prompt for rank in (0, 1))
    made = combine_prompts([one, other], Combination.AVERAGE).parts[0].positive
    assert torch.allclose(made.face, (one.parts[0].positive.face + other.parts[0].positive.face) / 2)


def test_a_prompt_of_faces_and_one_of_pictures_are_two_encoders(analysis):
    picture = encode_image_prompt(encoder(), ONE, Fit.CROP)
    with pytest.raises(IPAdapterError, match="two image encoders"):
        combine_prompts([encode_faces(analysis, ONE).prompt, picture], Combination.CONCAT)


# The nodes


def test_the_nodes_read_a_face_by_the_users_own_pack():
    (insightface,) = LoadInsightFace.execute("CPU", "buffalo_l").args
    prompt, pictures = EncodeFacePrompt.execute(insightface, TWO, clip_vision=encoder()).args
    assert prompt.parts[0].positive.face.shape == (1, 512) and pictures.shape == (1, 224, 224, 3)


@pytest.mark.parametrize("wrong", [None, object(), {"provider": "CPU"}])
def test_anything_else_than_a_face_analysis_is_refused(wrong):
    with pytest.raises(IPAdapterError, match="is not what Load InsightFace makes"):
        EncodeFacePrompt.execute(wrong, ONE)


# Packs


def test_packs_are_found_where_the_library_puts_them_and_beside(tmp_path, monkeypatch):
    for place in ("models/antelopev2/antelopev2", "mine", "models/buffalo_l"):  # one of them unpacked too deep
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "a.onnx").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    assert pack_names() == ["buffalo_l", "antelopev2", "mine"]
    assert find_packs()["mine"] == tmp_path / "mine"


def test_a_missing_folder_is_no_packs(tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path / "no")], set()))
    assert pack_names() == []
    with pytest.raises(IPAdapterError, match="no InsightFace model pack 'buffalo_l' .*found: none.*unpack https://"):
        load_pack("buffalo_l")


def copy_pack(tmp_path, monkeypatch) -> Path:
    shutil.copytree(PACK_FOLDER, tmp_path / "insightface")
    paths = ([str(tmp_path / "insightface")], set())
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", paths)
    return tmp_path / "insightface" / "models" / "buffalo_l"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("det_10g.onnx", "cannot be loaded"), ("w600k_r50.onnx", "recognises no faces")],
)
def test_a_pack_without_one_of_its_models_is_refused(name, sentence, tmp_path, monkeypatch):
    (copy_pack(tmp_path, monkeypatch) / name).unlink()
    with pytest.raises(IPAdapterError, match=f"'buffalo_l'.*{sentence}|{sentence}"):
        load_pack("buffalo_l")


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"<html>not found</html>"])
def test_a_damaged_pack_is_refused_in_a_sentence(content, tmp_path, monkeypatch):
    (copy_pack(tmp_path, monkeypatch) / "w600k_r50.onnx").write_bytes(content)
    with pytest.raises(IPAdapterError, match="'buffalo_l' (cannot be loaded|recognises no faces)") as error:
        load_pack("buffalo_l")
    assert "\n" not in str(error.value)


def test_embeddings_of_another_width_are_refused(tmp_path, monkeypatch):
    path = copy_pack(tmp_path, monkeypatch) / "w600k_r50.onnx"
    made = onnx.load(path)
    for weight in made.graph.initializer:
        if weight.name == "last":
            values = onnx.numpy_helper.to_array(weight)[:, :128]
            weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values), "last"))
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save(made, path)
    with pytest.raises(IPAdapterError, match="makes face embeddings 128 wide, where adapters read embeddings 512 wide"):
        load_pack("buffalo_l")


def test_embeddings_that_are_no_numbers_are_refused(analysis, monkeypatch):
    nan = replace(find_faces(analysis, ONE[0])[0], embedding=torch.full((512,), torch.nan))
    monkeypatch.setattr(host_faces, "find_faces", lambda *args: (nan,))
    with pytest.raises(IPAdapterError, match="made NaN or infinite embeddings"):
        encode_faces(analysis, ONE)


def test_a_provider_that_is_not_there_is_refused_with_those_that_are():
    assert providers_for("CPU") == ["CPUExecutionProvider"] == providers_for("auto")
    with pytest.raises(IPAdapterError, match="cannot compute with CoreML, but with CPU: choose one of them"):
        providers_for("CoreML")


def test_without_the_library_the_pack_loads_and_a_face_node_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.app", None)
    with pytest.raises(IPAdapterError, match="python -m pip install insightface"):
        load_pack("buffalo_l")


def test_the_engine_imports_no_face_library():
    root = Path(__file__).resolve().parents[2]
    code = "import sys, ipadapter.faces; print([n for n in ('insightface', 'cv2', 'onnxruntime') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
