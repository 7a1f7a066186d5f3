"""Faces of pictures through the real InsightFace, on drawn faces and a small model pack that finds them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from insightface.app import FaceAnalysis
from insightface.utils.face_align import norm_crop
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.faces.providers import CHOICES, PROVIDERS, execution_providers
from pack.ipadapter.faces.reading import (
    SIDES,
    DetectorLook,
    Face,
    FaceCut,
    PlaceInBatch,
    choose_face,
    crop_aligned,
    embed_face,
    face_crop_size,
    find_faces,
    fixed_size,
    look_for_faces,
    looks_of,
    picture_of,
    read_face,
    require_analysis,
)

from tests.faces import DrawnFace, draw_faces, settings_of, write_pack

LARGE, SMALL, TINY = DrawnFace(300, 200, 90), DrawnFace(90, 330, 60, turned=30), DrawnFace(500, 400, 25, tint=20)
CLOSE_UP, CUT_OFF = DrawnFace(200, 200, 178), DrawnFace(200, 200, 195)
WHERE = PlaceInBatch(2, 3, 640, 480)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    """The stand-in pack as other packs' nodes prepare it."""
    directory = write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")
    made = FaceAnalysis(str(directory), allowed_modules=["detection", "recognition"], providers=[PROVIDERS["CPU"][0]])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


def drawing(*faces: DrawnFace, height: int = 480, width: int = 640):
    """A picture as InsightFace reads it."""
    return picture_of(draw_faces(height, width, *faces)[0])


# Pictures


def test_a_picture_becomes_eight_bits_of_blue_green_and_red():
    image = torch.rand(20, 30, 3)
    picture = picture_of(image)
    assert picture.dtype == np.uint8 and picture.flags.c_contiguous
    assert np.array_equal(picture[..., ::-1], (255 * image).round().numpy().astype(np.uint8))


@given(st.integers(0, 255))
def test_every_value_of_eight_bits_is_kept(value):
    assert int(picture_of(torch.full((2, 2, 3), value / 255))[0, 0, 0]) == value


def test_values_beyond_white_and_black_are_cut():
    assert picture_of(torch.tensor([[[1.5, -0.5, 0.5]]])).tolist() == [[[128, 0, 255]]]


def test_what_is_transparent_is_grey_and_what_is_opaque_as_it_is():
    image = torch.rand(4, 4, 4)
    image[..., 3] = 1
    image[0, :, 3] = 0
    picture = picture_of(image)
    assert np.array_equal(picture[1:], picture_of(image[..., :3])[1:])
    assert (picture[0] == 128).all()


def test_a_grey_picture_has_three_equal_channels():
    picture = picture_of(torch.rand(4, 5, 1))
    assert picture.shape == (4, 5, 3) and (picture == picture[..., :1]).all()


# Finding


def test_faces_are_found_where_they_are_the_largest_first(analysis):
    drawn = [LARGE, SMALL, TINY]
    found = find_faces(analysis.det_model, drawing(TINY, LARGE, SMALL))
    assert len(found) == 3
    for face, truth in zip(found, drawn, strict=True):
        assert np.abs(face.box - truth.box).max() < 2.5
        assert np.abs(face.keypoints - truth.keypoints.numpy()).max() < 2.5
        assert face.score > 0.7


@settings(max_examples=10, deadline=None)
@given(st.integers(130, 500), st.integers(130, 350), st.floats(20, 110), st.floats(-180, 180))
def test_a_face_is_found_wherever_it_is_and_however_it_is_turned(analysis, x, y, radius, turned):
    truth = DrawnFace(x, y, radius, turned)
    (face,) = find_faces(analysis.det_model, drawing(truth))
    assert np.abs(face.box - truth.box).max() < 3
    assert np.abs(face.keypoints - truth.keypoints.numpy()).max() < 4


def test_the_first_look_is_what_insightface_finds_itself(analysis):
    picture = drawing(LARGE, SMALL)
    boxes, keypoints = analysis.det_model.detect(picture)
    ours = find_faces(analysis.det_model, picture)
    assert {tuple(face.box) for face in ours} == {tuple(box[:4]) for box in boxes}
    assert {face.keypoints.tobytes() for face in ours} == {points.tobytes() for points in keypoints}


def test_a_close_up_is_found_by_a_smaller_look(analysis):
    picture = drawing(CLOSE_UP, height=400, width=400)
    assert not look_for_faces(analysis.det_model, picture, DetectorLook((640, 640)))
    (face,) = find_faces(analysis.det_model, picture)
    assert np.abs(face.box - CLOSE_UP.box).max() < 3


def test_a_face_that_fills_the_picture_is_found_with_a_border(analysis):
    picture = drawing(CUT_OFF, height=400, width=400)
    assert not any(look_for_faces(analysis.det_model, picture, look) for look in looks_of(analysis.det_model)[:-1])
    (face,) = find_faces(analysis.det_model, picture)
    assert np.abs(face.box - CUT_OFF.box).max() < 3
    assert np.abs(face.keypoints - CUT_OFF.keypoints.numpy()).max() < 3


def test_an_empty_picture_is_looked_at_in_every_way_and_has_no_face(analysis):
    asked: list[tuple[int, int]] = []

    class Watched:
        static_input_size = None

        def detect(self, picture, input_size):
            asked.append(input_size)
            return analysis.det_model.detect(picture, input_size=input_size)

    assert find_faces(Watched(), drawing()) == ()
    assert asked == [(side, side) for side in (*SIDES, SIDES[0])]


def test_looking_leaves_the_detector_as_it_was(analysis):
    before = settings_of(analysis.det_model)
    find_faces(analysis.det_model, drawing())
    assert settings_of(analysis.det_model) == before
    assert analysis.get(drawing(CLOSE_UP, height=400, width=400)) == []  # as it was prepared


@pytest.mark.parametrize(
    ("detector", "size"),
    [
        (SimpleNamespace(static_input_size=(320, 256), input_shape=[1, 3, 256, 320]), (320, 256)),
        (SimpleNamespace(static_input_size=None, input_shape=[1, 3, 640, 640]), None),
        (SimpleNamespace(input_shape=[1, 3, 256, 320]), (320, 256)),  # InsightFace 0.7
        (SimpleNamespace(input_shape=[1, 3, "?", "?"]), None),
        (SimpleNamespace(), None),
    ],
)
def test_a_detector_of_one_size_is_told_from_one_of_any(detector, size):
    assert fixed_size(detector) == size
    looks = looks_of(detector)
    assert len({look.size for look in looks}) == (1 if size else len(SIDES)) and looks[-1].border > 0


def test_a_detector_without_keypoints_is_refused():
    blind = SimpleNamespace(detect=lambda picture, input_size: (np.zeros((1, 5), np.float32), None))
    with pytest.raises(IPAdapterError, match="without keypoints"):
        find_faces(blind, drawing())


# Choosing


def faces(*sides: int) -> tuple[Face, ...]:
    return tuple(Face(np.array([0, 0, side, side], np.float32), np.zeros((5, 2), np.float32), 0.9) for side in sides)


def test_a_face_is_chosen_by_its_rank():
    there = faces(30, 20, 10)
    assert [choose_face(there, rank, WHERE) for rank in range(3)] == list(there)


def test_a_picture_without_a_face_is_refused_by_its_number_and_size():
    with pytest.raises(IPAdapterError, match=r"no face was found in image 2 of 3 \(640×480 pixels\): give a picture"):
        choose_face((), 0, WHERE)


def test_a_rank_beyond_the_faces_is_refused_with_how_many_there_are():
    with pytest.raises(IPAdapterError, match=r"face is 2, .* 2 face\(s\) were found in image 2 of 3 .* set face to 1"):
        choose_face(faces(2, 1), 2, WHERE)


# Reading


def test_the_embedding_is_insightfaces_own_to_the_bit(analysis):
    picture = drawing(TINY, LARGE, SMALL)
    theirs = sorted(analysis.get(picture), key=lambda face: -(face.bbox[2] - face.bbox[0]))
    ours = [embed_face(analysis, picture, face) for face in find_faces(analysis.det_model, picture)]
    for own, other in zip(ours, theirs, strict=True):
        assert own.shape == (512,) and own.dtype == torch.float32
        assert torch.equal(own, torch.from_numpy(other.embedding))
        assert own.norm() > 5  # not normalised


def test_one_person_is_told_from_another_wherever_they_are(analysis):
    def embedding(face: DrawnFace):
        return read_face(analysis, draw_faces(480, 640, face)[0], 0, FaceCut(), WHERE).embedding

    one, again, other = embedding(LARGE), embedding(DrawnFace(250, 220, 70, turned=40)), embedding(TINY)
    alike, unlike = (torch.cosine_similarity(one, two, dim=0) for two in (again, other))
    assert alike > 0.75 > unlike


@pytest.mark.parametrize("size", [112, 128, 224, 256, 336])
def test_a_crop_is_insightfaces_own_in_red_green_and_blue(analysis, size):
    picture = drawing(SMALL)
    (face,) = find_faces(analysis.det_model, picture)
    crop = crop_aligned(picture, face, size)
    theirs = norm_crop(picture, landmark=face.keypoints, image_size=size)
    assert crop.shape == (size, size, 3) and crop.min() >= 0 and crop.max() <= 1
    assert np.array_equal((255 * crop).round().numpy().astype(np.uint8), theirs[..., ::-1])


def test_a_turned_face_stands_upright_in_its_crop(analysis):
    read = read_face(analysis, draw_faces(480, 640, SMALL)[0], 0, FaceCut(), WHERE)
    blue, green = (
        (read.crop == torch.tensor(colour)).all(dim=-1).nonzero().float().mean(dim=0)
        for colour in ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
    )  # row and column of the eyes
    assert abs(blue[0] - green[0]) < 4 and green[1] - blue[1] > 50


@pytest.mark.parametrize(("pixels", "size"), [(224, 224), (336, 336), (448, 448), (256, 256), (378, 224), (56, 224)])
def test_crops_are_of_the_encoders_size_where_faces_can_be_aligned_to_it(pixels, size):
    assert face_crop_size(pixels) == size


@pytest.mark.parametrize(
    ("embedding", "sentence"),
    [(np.zeros(128, np.float32), "128 wide, and FaceID adapters read 512"), (np.full(512, np.nan), "NaN or infinite")],
)
def test_an_embedding_no_adapter_can_read_is_refused(embedding, sentence):
    recognition = SimpleNamespace(get=lambda picture, face: embedding)
    with pytest.raises(IPAdapterError, match=sentence):
        embed_face(SimpleNamespace(models={"recognition": recognition}), drawing(), faces(10)[0])


# What a socket gives


def test_insightfaces_own_object_is_taken_as_it_is(analysis):
    assert require_analysis(analysis) is analysis


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (None, "insightface is empty: connect Load InsightFace"),
        ("buffalo_l", "insightface is a str, where"),
        (SimpleNamespace(models={"recognition": 1}), "insightface is a SimpleNamespace, where"),
        (SimpleNamespace(models={}, det_model=None), "insightface is a SimpleNamespace, where"),
        (
            SimpleNamespace(models={"detection": 1, "genderage": 2}, det_model=SimpleNamespace(detect=1)),
            r"no recognition model \(detection, genderage\)",
        ),
    ],
)
def test_anything_else_is_refused(wrong, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        require_analysis(wrong)


# Providers


@pytest.mark.parametrize(
    ("choice", "available", "providers"),
    [
        ("auto", ["AzureExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        ("auto", ["CPUExecutionProvider", "CUDAExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ("CPU", ["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        ("ROCM", ["MIGraphXExecutionProvider"], ["MIGraphXExecutionProvider", "CPUExecutionProvider"]),
        ("DirectML", ["DmlExecutionProvider"], ["DmlExecutionProvider", "CPUExecutionProvider"]),
    ],
)
def test_a_provider_comes_before_the_cpu(choice, available, providers):
    assert execution_providers(choice, available) == providers


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice not in ("auto", "CPU")])
def test_a_provider_that_is_not_there_is_refused_with_those_that_are(choice):
    with pytest.raises(IPAdapterError, match=rf"provider is {choice}, .* \(it has CPU\): choose auto"):
        execution_providers(choice, ["AzureExecutionProvider", "CPUExecutionProvider"])
