"""The metrics equal those of transformers' CLIPModel and open_clip's own models, on the same random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import open_clip
import pytest
import torch
from pack.ipadapter.encoders.image_tower import read_architecture
from pack.ipadapter.encoders.transformers_layout import from_transformers
from pack.ipadapter.encoders.two_towers import MetricEncoder, build_text, detect_towers, open_towers, read_towers
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.evaluation.metrics import (
    Embedded,
    clip_score,
    cosine,
    describe_scores,
    embed_captions,
    embed_pictures,
    pair,
    score_pictures,
    summarise_scores,
)
from pack.ipadapter.images.pixels import Fit, PixelFormat, prepare_pixels
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

SIDE, WIDTH, LENGTH = 28, 64, 20
CAPTIONS = ["a red star on a teal background", "two dogs", "a red star on a teal background, striped, large"]
MODEL = {
    "embed_dim": 48,
    "quick_gelu": True,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": WIDTH, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": LENGTH, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
FORM = PixelFormat(SIDE, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@cache
def theirs() -> CLIPModel:
    """transformers' model with the same sizes, random."""
    torch.manual_seed(0)
    tower = {"num_hidden_layers": 2, "hidden_act": "quick_gelu", "projection_dim": 48}
    vision = tower | {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4}
    text = tower | {"hidden_size": 32, "intermediate_size": 128, "num_attention_heads": 2, "vocab_size": 49408}
    config = CLIPConfig(
        text_config=text | {"max_position_embeddings": LENGTH, "eos_token_id": 49407},
        vision_config=vision | {"image_size": SIDE, "patch_size": 14},
        projection_dim=48,
    )
    model = CLIPModel(config).eval()
    for key, parameter in model.named_parameters():
        if parameter.ndim == 1:  # biases that start at 0 would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.1)
        assert torch.isfinite(parameter).all(), key
    return model


@cache
def ours_model() -> torch.nn.Module:
    """open_clip's own model, random."""
    torch.manual_seed(1)
    return open_clip.CLIP(**MODEL).eval()


def describe_beside(path: Path, model: dict = MODEL, preprocess: dict = PREPROCESS) -> None:
    path.with_suffix(".json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, path)
    describe_beside(path)
    return path


def opened(path: Path) -> MetricEncoder:
    return open_towers(path, path.name)


def pictures(count: int, seed: int = 5) -> list[Tensor]:
    """Of several sizes and shapes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(1, 40 + 10 * index, 60, 3, generator=generator) for index in range(count)]


def pixels(given: list[Tensor]) -> Tensor:
    return torch.cat([prepare_pixels(picture, None, Fit.CROP, FORM) for picture in given])


def close(ours: Tensor, expected: Tensor) -> bool:
    assert ours.shape == expected.shape
    return bool((ours - expected).abs().max() <= 1e-5)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def feature(out: object) -> Tensor:
    """transformers has returned both a tensor and an output that holds it."""
    return out if isinstance(out, Tensor) else out.pooler_output  # type: ignore[attr-defined]


def test_embeddings_equal_transformers_clip_model(tmp_path):
    encoder = opened(saved(tmp_path / "model.safetensors", theirs().state_dict()))
    given = pictures(3)
    assert close(embed_pictures(encoder, given), unit(feature(theirs().get_image_features(pixel_values=pixels(given)))))
    tokens = open_clip.SimpleTokenizer(context_length=LENGTH)(CAPTIONS)
    assert close(embed_captions(encoder, CAPTIONS), unit(feature(theirs().get_text_features(input_ids=tokens))))


def test_scores_equal_the_formulas_on_transformers_logits(tmp_path):
    """CLIPScore as torchmetrics has it is 100 · max(cos, 0); Hessel's is 2.5 · max(cos, 0)."""
    encoder = opened(saved(tmp_path / "model.safetensors", theirs().state_dict()))
    generated, references = pictures(3), pictures(3, seed=6)
    texts = embed_captions(encoder, CAPTIONS)
    clip = Embedded(embed_pictures(encoder, generated), embed_pictures(encoder, references))
    scores = score_pictures(clip, None, texts, CAPTIONS)
    tokens = open_clip.SimpleTokenizer(context_length=LENGTH)(CAPTIONS)
    out = theirs()(input_ids=tokens, pixel_values=pixels(generated))
    cosines = out.logits_per_image.diagonal() / theirs().logit_scale.exp()
    images = [
        unit(feature(theirs().get_image_features(pixel_values=pixels(given)))) for given in (generated, references)
    ]
    for index, score in enumerate(scores):
        assert abs(score.clip_t - cosines[index].item()) < 1e-5
        assert abs(score.clip_score - 2.5 * max(cosines[index].item(), 0)) < 1e-5
        assert abs(score.clip_i - (images[0][index] @ images[1][index]).item()) < 1e-5
    assert len({round(score.clip_i, 6) for score in scores}) == 3


@pytest.mark.parametrize("custom", [False, True], ids=["CLIP", "CustomTextCLIP"])
def test_embeddings_equal_open_clips_own(custom, tmp_path):
    state = ours_model().state_dict()
    if custom:
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    encoder = opened(saved(tmp_path / "model.safetensors", state))
    given = pictures(2)
    assert close(embed_pictures(encoder, given), ours_model().encode_image(pixels(given), normalize=True))
    tokens = open_clip.SimpleTokenizer(context_length=LENGTH)(CAPTIONS)
    assert close(embed_captions(encoder, CAPTIONS), ours_model().encode_text(tokens, normalize=True))


def test_the_file_beside_decides_pixels_and_architecture(tmp_path):
    path = saved(tmp_path / "model.safetensors", ours_model().state_dict())
    assert opened(path).form == FORM
    describe_beside(path, preprocess=PREPROCESS | {"resize_mode": "squash"})
    assert opened(path).fit is Fit.STRETCH


def test_a_json_about_something_else_is_not_an_architecture(tmp_path):
    path = saved(tmp_path / "model.safetensors", ours_model().state_dict())
    path.with_suffix(".json").write_text('{"sd version": "SD1.5"}')
    with pytest.raises(IPAdapterError, match="fits none of the architectures"):
        opened(path)


@pytest.mark.parametrize(
    ("text", "word"),
    [("{", "Expecting property name"), ('{"model_cfg": {}}', "embed_dim"), ('{"model_cfg": []}', "model_cfg")],
)
def test_a_bad_architecture_file_is_named(text, word, tmp_path):
    path = saved(tmp_path / "model.safetensors", ours_model().state_dict())
    path.with_suffix(".json").write_text(text)
    with pytest.raises(IPAdapterError, match="'model.json' beside 'model.safetensors'") as error:
        opened(path)
    assert word in str(error.value)


def test_an_architecture_that_is_not_the_files_is_refused(tmp_path):
    path = saved(tmp_path / "model.safetensors", ours_model().state_dict())
    describe_beside(path, MODEL | {"text_cfg": MODEL["text_cfg"] | {"layers": 3}})
    with pytest.raises(IPAdapterError, match="the text tower of 'model.safetensors' is not a model's: transformer"):
        opened(path)


def test_without_a_text_tower_images_are_measured_and_captions_are_not(tmp_path):
    state = {key: tensor for key, tensor in theirs().state_dict().items() if not key.startswith("text")}
    encoder = opened(saved(tmp_path / "vision.safetensors", state))
    assert embed_pictures(encoder, pictures(2)).shape == (2, 48)
    with pytest.raises(IPAdapterError, match="'vision.safetensors' has no text tower, so CLIP-T cannot"):
        embed_captions(encoder, CAPTIONS)


def test_a_file_without_an_image_tower_is_refused(tmp_path):
    save_file({"transformer.h.0.weight": torch.zeros(2)}, tmp_path / "words.safetensors")
    with pytest.raises(IPAdapterError, match="'words.safetensors' has no CLIP image tower"):
        opened(tmp_path / "words.safetensors")


def only_shapes(name: str) -> dict[str, Tensor]:
    """Both towers of a public model, of any size, a byte a number."""
    with torch.device("meta"):
        model = open_clip.CLIP(**{k: v for k, v in open_clip.get_model_config(name).items() if k != "custom_text"})
    return {key: torch.empty(tensor.shape, dtype=torch.uint8) for key, tensor in model.state_dict().items()}


def public_file(monkeypatch: pytest.MonkeyPatch, name: str, state: dict[str, Tensor]) -> str:
    """What a file of these tensors is taken for."""
    import pack.ipadapter.encoders.two_towers as module

    monkeypatch.setattr(module, "read_tensors", lambda path, name: state)
    return detect_towers(read_towers(Path(name), name)).name


@pytest.mark.parametrize(
    ("file", "architecture", "expected"),
    [
        ("open_clip_model.safetensors", "ViT-L-14", "ViT-L-14"),
        ("ViT-L-14-openai.safetensors", "ViT-L-14", "ViT-L-14-quickgelu"),
        ("CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "ViT-H-14", "ViT-H-14"),
        ("model.safetensors", "ViT-B-32", "ViT-B-32"),
    ],
)
def test_public_files_are_recognised_by_both_towers(file, architecture, expected, monkeypatch):
    assert public_file(monkeypatch, file, only_shapes(architecture)) == expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("clip-vit-large-patch14.safetensors", "ViT-L-14-quickgelu"),
        ("CLIP-ViT-L-14-laion2B-s32B-b82K.safetensors", "ViT-L-14"),
    ],
)
def test_in_transformers_layout_openais_activation_is_chosen_by_width_and_name(file, expected, monkeypatch):
    with torch.device("meta"):
        config = {"vision_config": large("vision"), "text_config": large("text"), "projection_dim": 768}
        model = CLIPModel(CLIPConfig(**config))
    state = {key: torch.empty(tensor.shape, dtype=torch.uint8) for key, tensor in model.state_dict().items()}
    assert public_file(monkeypatch, file, state) == expected


def large(tower: str) -> dict[str, int]:
    """ViT-L/14."""
    width, layers, heads = (1024, 24, 16) if tower == "vision" else (768, 12, 12)
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    sizes |= {"num_attention_heads": heads, "projection_dim": 768}
    return sizes | ({"patch_size": 14, "image_size": 224} if tower == "vision" else {})


def test_every_name_of_transformers_layout_is_renamed():
    renamed = from_transformers(theirs().state_dict())
    expected = {key: tensor.shape for key, tensor in ours_model().state_dict().items()}
    assert {key: tensor.shape for key, tensor in renamed.items()} == expected


def test_a_text_tower_of_another_library_is_said_so():
    with pytest.raises(IPAdapterError, match="the text tower of roberta-ViT-B-32 is a model of transformers"):
        build_text(read_architecture("roberta-ViT-B-32"))


def test_clip_score_is_clamped():
    assert clip_score(torch.tensor([-0.5, 0.0, 0.4])).tolist() == pytest.approx([0, 0, 1])
    one = torch.randn(3, 7)
    assert torch.allclose(cosine(one, 3 * one), torch.ones(3))


@pytest.mark.parametrize(
    ("count", "others", "expected"),
    [(3, 1, [0, 0, 0]), (3, 3, [0, 1, 2]), (6, 3, [0, 0, 1, 1, 2, 2]), (4, 2, [0, 0, 1, 1])],
)
def test_pictures_follow_references_in_blocks(count, others, expected):
    assert pair(count, others, "reference") == expected


@pytest.mark.parametrize(("count", "others"), [(3, 2), (2, 3), (3, 0)])
def test_numbers_that_do_not_pair_are_refused(count, others):
    with pytest.raises(IPAdapterError, match=f"{count} generated picture.s. and {others} reference.s. do not pair"):
        pair(count, others, "reference")


def test_the_summary_names_every_metric_its_interval_and_the_caveat():
    vectors = unit(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    clip = Embedded(vectors, vectors[:2])
    scores = score_pictures(clip, clip, vectors[2:], ["a", "b"])
    text = describe_scores(scores, "an encoder", "A photo depicts", "dinov2 (224 px)")
    assert [score.reference for score in scores] == [0, 0, 1, 1]
    assert [score.caption for score in scores] == ["a", "a", "b", "b"]
    for word in ("CLIP-I: ", "CLIP-T (cosine): ", "CLIP-T (2.5 x cosine): ", "DINO-I: ", "95 % interval"):
        assert word in text
    assert 'prefix "A photo depicts"' in text and "score high on CLIP metrics" in text
    assert summarise_scores(scores)["clip_i"].groups == 2


def test_one_reference_has_no_interval_and_the_text_says_so():
    vectors = unit(torch.randn(2, 8, generator=torch.Generator().manual_seed(0)))
    scores = score_pictures(Embedded(vectors, vectors[:1]), None, None, [])
    assert list(summarise_scores(scores)) == ["clip_i"]
    assert "no interval" in describe_scores(scores, "an encoder", "", None)
