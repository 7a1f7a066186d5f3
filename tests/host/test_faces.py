"""Face prompts through the real InsightFace and the host's own image encoders, both small."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import folder_paths
import onnx
import onnxruntime
import pytest
import torch
from insightface.app import FaceAnalysis
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.faces.reading import FaceCrop, find_faces, picture_of
from pack.ipadapter.host.encoders.encoder import encode_image_prompt, pixel_format
from pack.ipadapter.host.faces import models as face_models
from pack.ipadapter.host.faces.models import find_pack, open_pack, pack_names, register_face_folder
from pack.ipadapter.host.faces.reading import FacePrompt, FaceReading, encode_faces
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.prompts.combining import Combination, combine_prompts
from pack.ipadapter.prompts.files import read_prompt, write_prompt
from pack.ipadapter.prompts.prompt import Order, join_prompts
from pack.nodes.faces import EncodeFacePrompt, LoadInsightFace
from pack.nodes.legacy import inputs
from pack.nodes.sockets import InsightFaceSocket
from torch import Tensor

from tests.faces import PACK_FILES, DrawnFace, draw_faces, settings_of, write_pack
from tests.host.test_encoder import CLIP, EMBED, HIDDEN, PATCHES, encoder, picture, vision_model
from tests.refusals import refusal

PROVIDERS = ["CPUExecutionProvider"]
LARGE, SMALL = DrawnFace(300, 200, 90), DrawnFace(90, 330, 60, turned=30, tint=20)
CLOSE_UP = DrawnFace(200, 200, 178)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The stand-in pack, made once."""
    return write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")


@pytest.fixture(scope="module")
def analysis(files):
    """InsightFace's object as another pack's loader makes it."""
    made = FaceAnalysis(str(files), allowed_modules=["detection", "recognition"], providers=PROVIDERS)
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty models/insightface of the user's own."""
    made = tmp_path / "insightface"
    made.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(made)], set()))
    return made


@pytest.fixture
def pack(folder, files) -> Path:
    """The pack where InsightFace puts it, for a test to damage."""
    return Path(shutil.copytree(files, folder / "models" / "buffalo_l"))


def two_faces(channels: int = 3) -> Tensor:
    return draw_faces(480, 640, SMALL, LARGE, channels=channels)


def three_pictures() -> Tensor:
    """One face each: in the middle, turned, of somebody else."""
    drawn = (LARGE, DrawnFace(250, 220, 70, turned=40), DrawnFace(400, 250, 80, tint=-25))
    return torch.cat([draw_faces(480, 640, face) for face in drawn])


def theirs(analysis, image: Tensor) -> list:
    """What InsightFace itself finds in the first picture, the largest first."""
    found = analysis.get(picture_of(image[0]))
    return sorted(found, key=lambda face: -(face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))


def features(made: FacePrompt):
    """Those of the only part."""
    (part,) = made.prompt.parts
    return part.positive


@cache
def encoder_of(size: int) -> comfy.clip_vision.ClipVisionModel:
    """A random image encoder of another size."""
    model = vision_model(CLIP | {"image_size": size})
    generator = torch.Generator().manual_seed(8)
    for key, parameter in model.model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.1
        parameter.copy_((noise + ("norm" in key and key.endswith("weight"))).half())
    return model


# Without an image encoder


def test_the_embedding_is_insightfaces_own_of_the_largest_face(analysis):
    made = encode_faces(analysis, two_faces())
    assert torch.equal(features(made).face, torch.from_numpy(theirs(analysis, two_faces())[0].embedding)[None])


def test_without_an_image_encoder_the_prompt_holds_faces_alone(analysis):
    made = encode_faces(analysis, three_pictures())
    assert features(made).face.shape == (3, 512)
    assert features(made).image_embeds.shape == (3, 0) and features(made).penultimate is None
    zero = made.prompt.zero_pixels
    assert zero.image_embeds.shape == (1, 0) and zero.penultimate is None
    assert torch.equal(zero.face, torch.zeros(1, 512)) and made.prompt.nothing.face is zero.face
    assert made.crops.shape == (3, 224, 224, 3)
    assert made.prompt.encoder == "InsightFace buffalo_l"


def test_a_face_can_be_chosen_by_its_rank(analysis):
    largest, second = (features(encode_faces(analysis, two_faces(), None, FaceReading(rank))).face for rank in (0, 1))
    assert torch.equal(second[0], torch.from_numpy(theirs(analysis, two_faces())[1].embedding))
    assert not torch.allclose(largest, second, atol=0.1)


def test_a_batch_is_several_references_each_read_by_itself(analysis):
    images = three_pictures()
    made = encode_faces(analysis, images)
    for index in range(3):
        alone = encode_faces(analysis, images[index : index + 1])
        assert torch.equal(features(made).face[index], features(alone).face[0])
        assert torch.equal(made.crops[index], alone.crops[0])


def test_an_opaque_alpha_channel_changes_nothing(analysis):
    plain, opaque = (encode_faces(analysis, two_faces(channels)) for channels in (3, 4))
    assert torch.equal(features(plain).face, features(opaque).face)


def test_a_face_that_is_transparent_is_not_there(analysis):
    image = two_faces(4)
    image[:, 100:300, 200:400, 3] = 0  # all of the large one
    left, second = encode_faces(analysis, image), encode_faces(analysis, two_faces(), None, FaceReading(1))
    assert torch.allclose(features(left).face, features(second).face, atol=0.01)


def test_a_close_up_is_read_though_insightface_misses_it_at_the_usual_size(analysis):
    image = draw_faces(400, 400, CLOSE_UP)
    assert theirs(analysis, image) == []
    assert features(encode_faces(analysis, image)).face.norm() > 5


def test_order_and_weights_are_those_of_the_references(analysis):
    made = encode_faces(
        analysis, three_pictures(), None, FaceReading(order=Order.FRAME_BY_FRAME, weights=(1.0, 0.5, 0.0))
    )
    (part,) = made.prompt.parts
    assert part.order is Order.FRAME_BY_FRAME and part.weights == (1.0, 0.5, 0.0)
    assert encode_faces(analysis, three_pictures()).prompt.parts[0].weights is None


def test_the_pictures_are_left_as_they_were(analysis):
    image = two_faces(4)
    before = image.clone()
    encode_faces(analysis, image)
    assert torch.equal(image, before)


def test_the_shared_object_is_left_as_it_was(analysis):
    before = settings_of(analysis.det_model)
    encode_faces(analysis, draw_faces(400, 400, CLOSE_UP))
    assert settings_of(analysis.det_model) == before
    assert theirs(analysis, draw_faces(400, 400, CLOSE_UP)) == []


def test_an_object_that_does_not_name_its_pack_is_read_as_well(analysis):
    nameless = SimpleNamespace(det_model=analysis.det_model, models=analysis.models)
    assert encode_faces(nameless, two_faces()).prompt.encoder == "InsightFace"


# With an image encoder


def test_an_image_encoder_sees_the_crops_as_it_would_see_any_picture(analysis):
    made = encode_faces(analysis, three_pictures(), encoder())
    plain = encode_image_prompt(encoder(), made.crops, Fit.CROP)
    assert torch.equal(features(made).image_embeds, plain.parts[0].positive.image_embeds)
    assert torch.equal(features(made).penultimate, plain.parts[0].positive.penultimate)
    assert features(made).penultimate.shape == (3, PATCHES + 1, HIDDEN)
    assert features(made).image_embeds.shape == (3, EMBED)


def test_no_image_is_the_encoders_zero_pixels_and_no_face(analysis):
    made = encode_faces(analysis, two_faces(), encoder())
    plain = encode_image_prompt(encoder(), picture(), Fit.CROP)
    zero = made.prompt.zero_pixels
    assert torch.equal(zero.penultimate, plain.zero_pixels.penultimate)
    assert torch.equal(zero.image_embeds, plain.zero_pixels.image_embeds)
    assert torch.equal(zero.face, torch.zeros(1, 512))
    assert made.prompt.encoder == f"InsightFace buffalo_l and {plain.encoder}"


def test_the_faces_are_the_same_with_and_without_an_image_encoder(analysis):
    bare, seeing = (encode_faces(analysis, two_faces(), clip) for clip in (None, encoder()))
    assert torch.equal(features(bare).face, features(seeing).face)


@pytest.mark.parametrize(("size", "side"), [(56, 224), (112, 112), (336, 336)])
def test_crops_are_of_the_encoders_size_where_faces_can_be_aligned_to_it(analysis, size, side):
    clip = encoder() if size == 56 else encoder_of(size)
    assert pixel_format(clip).size == size
    made = encode_faces(analysis, two_faces(), clip)
    assert made.crops.shape == (1, side, side, 3)


def test_an_image_encoder_that_makes_no_numbers_is_refused(analysis):
    damaged = encoder_of.__wrapped__(56)
    damaged.model.vision_model.post_layernorm.weight[0] = float("nan")
    with pytest.raises(IPAdapterError, match="the image encoder clip_vision_model .* made NaN"):
        encode_faces(analysis, two_faces(), damaged)


# Refusals


def test_a_picture_without_a_face_is_named(analysis):
    images = three_pictures()
    images[1] = 0.2
    with pytest.raises(IPAdapterError, match=r"no face was found in image 2 of 3 \(640×480 pixels\)"):
        encode_faces(analysis, images)


def test_a_rank_that_a_picture_does_not_have_is_refused(analysis):
    with pytest.raises(IPAdapterError, match=r"face is 2, .* 2 face\(s\) were found in image 1 of 1"):
        encode_faces(analysis, two_faces(), None, FaceReading(2))


def test_a_photograph_without_drawn_faces_has_none(analysis):
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    photo = pil_to_tensor(Image.open(Path(__file__).parents[1] / "data" / "photo.jpg").convert("RGB"))
    assert find_faces(analysis.det_model, picture_of(photo.movedim(0, -1) / 255)) == ()


@pytest.mark.parametrize("wrong", [None, "buffalo_l", SimpleNamespace()])
def test_what_is_no_face_analysis_is_refused(wrong):
    with pytest.raises(IPAdapterError, match="connect Load InsightFace"):
        encode_faces(wrong, two_faces())


@pytest.mark.parametrize(
    "bad", [torch.rand(0, 60, 60, 3), torch.rand(1, 60, 60, 2), torch.full((1, 9, 9, 3), torch.nan)]
)
def test_a_bad_picture_is_refused_before_anything_is_read(analysis, bad):
    with pytest.raises(IPAdapterError, match="^image "):
        encode_faces(analysis, bad)


def test_a_wrong_number_of_weights_is_refused_before_anything_is_read(analysis):
    unread = SimpleNamespace(det_model=SimpleNamespace(detect=None), models=analysis.models)
    with pytest.raises(IPAdapterError, match="weights has 2 number"):
        encode_faces(unread, three_pictures(), None, FaceReading(weights=(1.0, 0.5)))


def test_an_interrupted_reading_stops(analysis):
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        encode_faces(analysis, three_pictures())


def test_progress_is_told_picture_by_picture(analysis):
    seen: list[tuple[int, int]] = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *rest, **more: seen.append((value, total)))
    try:
        encode_faces(analysis, three_pictures())
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert seen[0] == (1, 3) and seen[-1] == (3, 3)


# What can be done with the prompt


@pytest.mark.parametrize("clip", [None, "CLIP"])
def test_a_face_prompt_is_saved_and_read_to_the_bit(analysis, tmp_path, clip):
    prompt = encode_faces(
        analysis, three_pictures(), clip and encoder(clip), FaceReading(weights=(1.0, 0.5, 2.0))
    ).prompt
    again = read_prompt(write_prompt(tmp_path / "face.safetensors", prompt), "face.safetensors")
    assert again.encoder == prompt.encoder and again.parts[0].weights == prompt.parts[0].weights
    for one, other in ((prompt.parts[0].positive, again.parts[0].positive), (prompt.zero_pixels, again.zero_pixels)):
        for feature, tensor in one.outputs.items():
            assert (tensor is None) is (other.get(feature) is None)
            assert tensor is None or torch.equal(tensor, other.get(feature))


def test_two_face_prompts_are_averaged(analysis):
    images = three_pictures()
    prompts = [encode_faces(analysis, images[index : index + 1]).prompt for index in range(2)]
    mean = combine_prompts(prompts, Combination.AVERAGE)
    both = torch.cat([prompt.parts[0].positive.face for prompt in prompts])
    assert torch.allclose(mean.parts[0].positive.face, both.mean(dim=0, keepdim=True))
    assert mean.parts[0].positive.image_embeds.shape == (1, 0)


def test_face_prompts_stand_beside_each_other(analysis):
    images = three_pictures()
    prompts = [encode_faces(analysis, images[index : index + 1]).prompt for index in range(2)]
    assert combine_prompts(prompts, Combination.CONCAT).parts[0].positive.face.shape == (2, 512)
    assert len(join_prompts(*prompts).parts) == 2


def test_a_face_prompt_and_an_image_prompt_are_not_mixed(analysis):
    with pytest.raises(IPAdapterError, match=r"two image encoders \(InsightFace buffalo_l and clip_vision_model"):
        combine_prompts(
            [encode_faces(analysis, two_faces()).prompt, encode_image_prompt(encoder(), picture(), Fit.CROP)],
            Combination.CONCAT,
        )


# Model packs


def test_packs_are_listed_wherever_users_put_them(folder, files):
    for place in ("models/buffalo_l", "buffalo_s", "models/antelopev2/antelopev2", "models/buffalo_m"):
        shutil.copytree(files, folder / place)
    (folder / "models" / "empty").mkdir()
    (folder / "inswapper_128.onnx").write_bytes(b"another node's")
    assert pack_names() == ["buffalo_l", "antelopev2", "buffalo_m", "buffalo_s"]  # the usual one first
    assert find_pack("antelopev2") == folder / "models" / "antelopev2" / "antelopev2"
    assert find_pack("buffalo_s") == folder / "buffalo_s"


def test_the_first_pack_of_a_name_counts(folder, files):
    for place in ("buffalo_l", "models/buffalo_l"):
        shutil.copytree(files, folder / place)
    assert find_pack("buffalo_l") == folder / "models" / "buffalo_l"


def test_the_folder_is_registered_beside_those_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path)], set()))
    register_face_folder()
    own = str(Path(folder_paths.models_dir) / "insightface")
    assert folder_paths.get_folder_paths("insightface") == [str(tmp_path), own]
    monkeypatch.delitem(folder_paths.folder_names_and_paths, "insightface")
    register_face_folder()
    assert folder_paths.get_folder_paths("insightface") == [own]


def test_without_a_folder_the_list_is_empty(monkeypatch, tmp_path):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", ([str(tmp_path / "none")], set()))
    assert pack_names() == []
    info = LoadInsightFace.GET_NODE_INFO_V1()
    assert info["input"]["required"]["model_name"][1]["options"] == []


def test_a_missing_pack_is_refused_with_where_to_get_it(folder):
    text = refusal(open_pack, "buffalo_l", "CPU")
    assert "the InsightFace model pack 'buffalo_l' is not there" in text
    assert str(folder / "models" / "buffalo_l") in text
    assert "model-zoo/buffalo_l.zip (for non-commercial research only)" in text
    assert LoadInsightFace.validate_inputs("buffalo_l") == text


def test_of_packs_that_are_there_one_can_be_chosen(pack):
    assert "choose one of buffalo_l, or" in LoadInsightFace.validate_inputs("antelopev2")
    assert LoadInsightFace.validate_inputs("buffalo_l") is True
    assert LoadInsightFace.validate_inputs() is True


def test_a_loaded_pack_reads_as_insightface_prepared_by_anybody_does(pack, analysis):
    ours = open_pack("buffalo_l", "auto")
    assert type(ours) is FaceAnalysis and set(ours.models) == {"detection", "recognition"}
    one, other = (encode_faces(made, two_faces()) for made in (ours, analysis))
    assert torch.equal(features(one).face, features(other).face)
    assert one.prompt.encoder == "InsightFace buffalo_l"


def test_other_models_of_a_pack_are_passed_over(pack):
    landmarks = onnx.load_model(pack / PACK_FILES[1])
    for dimension in landmarks.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = 192
    del landmarks.graph.node[2:]  # the layers that depend on the size
    landmarks.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info(landmarks.graph.node[-1].output[0], onnx.TensorProto.FLOAT, None)
    )
    onnx.save_model(landmarks, pack / "2d106det.onnx")
    assert set(open_pack("buffalo_l", "CPU").models) == {"detection", "recognition"}


@pytest.mark.parametrize(
    ("file", "sentence"),
    [(PACK_FILES[0], "has no model that detects"), (PACK_FILES[1], "has no model that recognises")],
)
def test_half_a_pack_is_refused(pack, file, sentence):
    (pack / file).unlink()
    with pytest.raises(IPAdapterError, match=sentence) as error:
        open_pack("buffalo_l", "CPU")
    assert str(pack) in str(error.value) and "unpack https://" in str(error.value)


@pytest.mark.parametrize("file", PACK_FILES)
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", None])
def test_a_damaged_file_is_refused(pack, file, content):
    whole = (pack / file).read_bytes()
    (pack / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(IPAdapterError, match=r"cannot be loaded, because a file is damaged \(.*unpack https://"):
        open_pack("buffalo_l", "CPU")


def test_a_recognition_model_of_another_width_is_refused(pack):
    model = onnx.load_model(pack / PACK_FILES[1])
    (matrix,) = [one for one in model.graph.initializer if list(one.dims)[-1:] == [512]]
    narrow = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(matrix)[:, :128].copy(), matrix.name)
    matrix.CopyFrom(narrow)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 128
    onnx.save_model(model, pack / PACK_FILES[1])
    with pytest.raises(IPAdapterError, match="makes face embeddings 128 wide, where FaceID adapters read 512"):
        open_pack("buffalo_l", "CPU")


def test_a_detector_without_keypoints_is_refused(pack):
    model = onnx.load_model(pack / PACK_FILES[0])
    del model.graph.output[6:]
    onnx.save_model(model, pack / PACK_FILES[0])
    with pytest.raises(IPAdapterError, match="has a detector without keypoints"):
        open_pack("buffalo_l", "CPU")


def test_a_provider_that_is_not_there_is_refused(pack):
    with pytest.raises(IPAdapterError, match=r"provider is DirectML, .* \(it has CPU"):
        open_pack("buffalo_l", "DirectML")


def test_a_provider_that_does_not_start_is_told(pack, monkeypatch, caplog):
    """onnxruntime lists what it was built for, whether or not the driver is there."""
    listed = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(face_models, "available_providers", lambda: listed)
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        assert open_pack("buffalo_l", "CUDA").det_model.session.get_providers() == PROVIDERS
    assert "InsightFace runs on CPUExecutionProvider, because CUDAExecutionProvider did not start" in caplog.text


@pytest.mark.parametrize("module", ["insightface.app", "onnxruntime"])
def test_a_missing_package_is_refused_with_what_to_install(pack, monkeypatch, module):
    for name in [name for name in sys.modules if name.partition(".")[0] == "insightface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    text = refusal(open_pack, "buffalo_l", "CPU")
    assert "InsightFace cannot be imported (" in text and module in text
    assert f"'{sys.executable} -m pip install insightface onnxruntime' and restart ComfyUI" in text


def test_nothing_is_ever_downloaded(pack, monkeypatch):
    import insightface.utils.storage

    monkeypatch.setattr(insightface.utils.storage, "download_file", lambda *given, **more: pytest.fail("download"))
    monkeypatch.chdir(pack.parent)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "insightface", (["."], set()))
    open_pack("buffalo_l", "CPU")


# Crops and a negative picture


def test_a_square_crop_is_the_face_as_it_lies_in_the_picture(analysis):
    face = DrawnFace(300, 200, 90, turned=40)
    image = draw_faces(480, 640, face)
    crop = encode_faces(analysis, image, None, FaceReading(crop=FaceCrop.SQUARE)).crops[0]
    left, top, right, bottom = (round(edge) for edge in face.box)
    whole = image[:, top:bottom, left:right].movedim(-1, 1)
    resized = torch.nn.functional.interpolate(whole, (224, 224), mode="bilinear")[0].movedim(0, -1)
    assert crop.shape == (224, 224, 3) and (crop - resized).abs().mean() < 0.05


def test_a_square_crop_goes_on_in_black_where_the_picture_ends(analysis):
    image = draw_faces(400, 400, DrawnFace(110, 210, 100))
    crop = encode_faces(analysis, image[:, :, 12:], None, FaceReading(crop=FaceCrop.SQUARE)).crops[0]
    assert crop.isfinite().all() and crop.shape == (224, 224, 3)


def test_a_negative_picture_moves_the_encoder_away_and_no_face(analysis):
    away = encode_faces(analysis, two_faces(), encoder(), negative=picture()).prompt.parts[0].negative
    (alone,) = encode_image_prompt(encoder(), picture(), Fit.CROP).parts
    assert torch.equal(away.face, torch.zeros(1, 512))
    assert torch.equal(away.penultimate, alone.positive.penultimate)


# Nodes


def test_the_nodes_pass_on_what_is_chosen(pack):
    (loaded,) = LoadInsightFace.execute("CPU", "buffalo_l").result
    prompt, crops = EncodeFacePrompt.execute(
        loaded, two_faces(), encoder(), 1, "square", "frame by frame", "0.5"
    ).result
    expected = encode_faces(
        loaded, two_faces(), encoder(), FaceReading(1, FaceCrop.SQUARE, Order.FRAME_BY_FRAME, (0.5,))
    )
    assert torch.equal(prompt.parts[0].positive.face, features(expected).face)
    assert prompt.parts[0].weights == (0.5,) and prompt.parts[0].order is Order.FRAME_BY_FRAME
    assert torch.equal(crops, expected.crops)


def test_the_extension_has_the_nodes_and_one_socket_for_faces():
    from pack.nodes.extension import IPAdapterExtension

    nodes = asyncio.run(IPAdapterExtension().get_node_list())
    assert LoadInsightFace in nodes and EncodeFacePrompt in nodes
    assert inputs.InsightFaceSocket is InsightFaceSocket
    schema = EncodeFacePrompt.define_schema()
    assert [one.id for one in schema.inputs] == [
        *("insightface", "image", "clip_vision", "face", "crop", "order", "weights"),
    ]
