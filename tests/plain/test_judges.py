"""Every judge against its own library's number on the same random weights, or the library's formula written out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import scipy.linalg
import torch
from pack.ipadapter.evaluation.distributions import Inception, distances, open_inception, set_features
from pack.ipadapter.evaluation.judges import ClipJudge, Judge
from pack.ipadapter.evaluation.measures import MEASURES, read_measures
from pack.ipadapter.evaluation.metrics import METRICS
from pack.ipadapter.evaluation.weights import WeightSource
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    BitImageProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tests.plain.test_metrics import (
    CAPTIONS,
    LENGTH,
    MODEL,
    feature,
    opened,
    ours_model,
    pictures,
    pixels,
    saved,
    theirs,
)
from tests.refusals import refusal

SMALL = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of dinov2's published preprocessor_config.json
SQUARE = 224  # pixels; what a judge of DINO reads


def squares(count: int, side: int = SQUARE) -> list[Tensor]:
    """Pictures in whole levels, which no fitting changes."""
    generator = torch.Generator().manual_seed(side)
    return [torch.randint(0, 256, (1, side, side, 3), generator=generator) / 255 for _ in range(count)]


def opened_judge(name: str, path: Path) -> Judge:
    return MEASURES[name].open(WeightSource(path.name, path))


def shaken(model: nn.Module) -> nn.Module:
    """Random all over: what starts at 0 or 1 would hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def cosine(one: Tensor, other: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


DINOS = {
    "v2": ("dinov2", Dinov2Model, Dinov2Config(**SMALL, image_size=518)),
    "v2 registers": ("dinov2", Dinov2WithRegistersModel, Dinov2WithRegistersConfig(**SMALL, image_size=518)),
    "v3": ("dinov3", DINOv3ViTModel, DINOv3ViTConfig(**SMALL, intermediate_size=256, num_register_tokens=4)),
    "v3 gated": (
        "dinov3",
        DINOv3ViTModel,
        DINOv3ViTConfig(**SMALL, intermediate_size=256, num_register_tokens=4, use_gated_mlp=True, hidden_act="silu"),
    ),
}


@pytest.mark.parametrize("kind", DINOS)
def test_dino_is_the_cosine_of_transformers_class_tokens(kind, tmp_path):
    name, model_class, config = DINOS[kind]
    model = shaken(model_class(config))
    model.save_pretrained(tmp_path)
    judge = opened_judge(name, tmp_path / "model.safetensors")
    one, other = squares(2, 256 if name == "dinov2" else SQUARE)
    edge = (one.shape[1] - SQUARE) // 2
    processor = BitImageProcessor(do_resize=False, do_center_crop=False, image_mean=MEAN, image_std=STD)
    levels = [(picture[0, edge : edge + SQUARE, edge : edge + SQUARE] * 255).round().byte() for picture in (one, other)]
    given = processor([level.numpy() for level in levels], return_tensors="pt").pixel_values
    tokens = model(pixel_values=given).last_hidden_state[:, 0]
    (key,) = MEASURES[name].keys
    assert judge.against(other, ())(one) == {key: pytest.approx(cosine(*tokens), abs=1e-5)}
    assert judge.against(one, ())(one)[key] == pytest.approx(1, abs=1e-6)


def test_dino_prepares_pictures_as_transformers_processor_does(tmp_path):
    (picture,) = pictures(1, seed=9)
    smooth = (
        torch.nn.functional.interpolate(picture.movedim(-1, 1), (300, 420), mode="bicubic").movedim(1, -1).clamp(0, 1)
    )
    judge = MEASURES["dinov2"].open.args[0].framing
    processor = BitImageProcessor(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        resample=3,
        image_mean=MEAN,
        image_std=STD,
    )
    level = Image.fromarray((smooth[0] * 255).round().byte().numpy())
    expected = processor(level, return_tensors="pt").pixel_values
    assert (judge(smooth) - expected).abs().mean() < 0.02 and (judge(smooth) - expected).abs().max() < 0.2


def test_a_dino_of_the_other_generation_is_refused(tmp_path):
    shaken(Dinov2Model(Dinov2Config(**SMALL))).save_pretrained(tmp_path)
    said = refusal(opened_judge, "dinov3", tmp_path / "model.safetensors")
    assert "'model.safetensors' is DINOv2, where DINOv3 is needed" in said
    clip = saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    assert "no DINO in transformers' layout" in refusal(opened_judge, "dinov2", clip)


def test_csd_is_the_style_projection_of_the_backbone(tmp_path):
    """Its authors' forward: the tower without its projection, times last_layer_style, as unit vectors."""
    model = ours_model().visual
    style = torch.randn(64, 40, generator=torch.Generator().manual_seed(4))
    state = {f"module.backbone.{key}": value for key, value in model.state_dict().items() if key != "proj"}
    state |= {"module.last_layer_style": style, "module.last_layer_content": torch.zeros(64, 40)}
    torch.save({"model_state_dict": state, "epoch": 1}, tmp_path / "csd.pth")
    config = {"embed_dim": 40, "quick_gelu": True, "vision_cfg": MODEL["vision_cfg"]}
    (tmp_path / "csd.json").write_text(json.dumps({"model_cfg": config}))
    one, other = squares(2, 28)
    judge = opened_judge("csd", tmp_path / "csd.pth")
    given = torch.cat([judge.framing(one), judge.framing(other)])
    without = open_clip.CLIP(**MODEL).visual.eval()
    without.load_state_dict(model.state_dict())
    without.proj = None
    styles = without(given) @ style
    assert judge.against(other, ())(one) == {"csd": pytest.approx(cosine(*styles), abs=1e-5)}
    assert "is no CSD model" in refusal(opened_judge, "csd", saved(tmp_path / "a.safetensors", theirs().state_dict()))


def test_pickscore_is_transformers_logit(tmp_path):
    judge = opened_judge("pickscore", saved(tmp_path / "pick.safetensors", theirs().state_dict()))
    one, _ = given = pictures(2)
    tokens = open_clip.SimpleTokenizer(context_length=LENGTH)(CAPTIONS)
    logits = theirs()(input_ids=tokens, pixel_values=pixels([one])).logits_per_image[0]
    measured = judge.against(given[1], CAPTIONS)(one)
    assert measured == {"pick_score": pytest.approx(logits.mean().item(), rel=1e-4)}
    assert judge.against(one, ())(one) == {}


def test_hps_is_the_bare_cosine_of_open_clips_towers(tmp_path):
    path = tmp_path / "HPS_v2.1.pt"
    torch.save({"epoch": 0, "state_dict": ours_model().state_dict()}, path)
    path.with_suffix(".json").write_text(json.dumps({"model_cfg": MODEL}))
    (one,) = squares(1, 28)
    judge = opened_judge("hpsv2", path)
    tokens = open_clip.SimpleTokenizer(context_length=LENGTH)(CAPTIONS[:1])
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    image = ours_model().encode_image((one.movedim(-1, 1) - mean) / std, normalize=True)
    expected = (image @ ours_model().encode_text(tokens, normalize=True).T).item()
    assert judge.against(one, CAPTIONS[:1])(one) == {"hps_v2": pytest.approx(expected, abs=1e-5)}


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """torch's own cache, where libraries find their networks instead of fetching them."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def test_lpips_is_its_papers_formula_on_the_networks_own_layers(hub):
    """Unit vectors over channels at each layer, squared differences weighed and averaged over places."""
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1().eval()
    torch.save(network.state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    judge = MEASURES["lpips"].open(WeightSource("squeeze"))
    one, other = squares(2, 256)
    weights = torch.load(torchmetrics_folder() / "squeeze.pth", map_location="cpu")
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.cat([((picture * 2 - 1 - shift) / scale).movedim(-1, 1) for picture in (one, other)])
    total, ends = 0.0, (1, 4, 7, 9, 10, 11, 12)  # the layers whose outputs count
    kept = []
    for index, layer in enumerate(network.features):
        x = layer(x)
        if index in ends:
            kept.append(x / x.norm(dim=1, keepdim=True).clamp(min=1e-8))
    for index, layer in enumerate(kept):
        total += (weights[f"lin{index}.model.1.weight"] * (layer[:1] - layer[1:]) ** 2).sum(1).mean().item()
    assert judge.against(other, ())(one) == {"lpips": pytest.approx(total, rel=1e-4)}
    assert judge.against(one, ())(one)["lpips"] == pytest.approx(0, abs=1e-6)
    assert "knows no network 'resnet'" in refusal(MEASURES["lpips"].open, WeightSource("resnet"))


def torchmetrics_folder() -> Path:
    import torchmetrics.functional.image as package

    return Path(package.__file__).parent / "lpips_models"


class FewColours(nn.Module):
    """In the place of Inception: a picture's mean colours in four parts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, levels: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(levels.float() / 255 * self.weight, 2).flatten(1)


def sets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    given = [torch.rand(1, 40, 50, 3, generator=generator) ** (1 if index < 20 else 2) for index in range(36)]
    inception = Inception(FewColours())
    return set_features(inception, given[:20]), set_features(inception, given[20:])


def test_fid_and_kid_are_their_papers_formulas():
    made, wanted = sets()
    found = distances(made, wanted)
    one, other = (np.asarray(features) for features in (made, wanted))
    spread = [np.cov(features, rowvar=False) for features in (one, other)]
    root = scipy.linalg.sqrtm(spread[0] @ spread[1]).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(spread[0] + spread[1] - 2 * root)
    assert found.fid == pytest.approx(expected, rel=1e-6)
    estimates = [unbiased_mmd(one[chosen], other) for chosen in subsets(len(one), len(other))]
    assert found.kid == pytest.approx(np.mean(estimates), abs=3 * np.std(estimates) / 10)
    assert distances(made, wanted) == found and distances(made[:16], made[:16]).fid == pytest.approx(0, abs=1e-8)
    assert "1 picture(s) and 16 reference(s) are no two sets" in refusal(distances, made[:1], wanted)


def subsets(count: int, size: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.permutation(count)[:size] for _ in range(100)]


def unbiased_mmd(one: np.ndarray, other: np.ndarray) -> float:
    """Squared distance of means under (x · y / F + 1)³, without each picture's product with itself."""

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    count = len(one)
    inner = [(kernel(x, x).sum() - np.trace(kernel(x, x))) / (count * (count - 1)) for x in (one, other)]
    return float(sum(inner) - 2 * kernel(one, other).mean())


@pytest.mark.parametrize(
    ("measure", "weights", "file"),
    [
        ("lpips", "", "alexnet-owt-7be5be79.pth"),
        ("lpips", "vgg", "vgg16-397923af.pth"),
        ("fid", "", "weights-inception-2015-12-05-6726825d.pth"),
    ],
)
def test_networks_that_are_not_there_are_named_and_not_fetched(measure, weights, file, hub):
    sentence = refusal(MEASURES[measure].open, WeightSource(weights))
    assert f"needs {file}, which is not in '{hub}', and nothing is downloaded here: get it from https://" in sentence
    assert not list(hub.iterdir())


def test_inception_is_torch_fidelitys(tmp_path):
    import torch_fidelity.feature_extractor_inceptionv3 as library

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:  # random weights, in the place of those it would fetch
        patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = library.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # features of a size that can be compared
    save_file(network.state_dict(), tmp_path / "inception.safetensors")
    judge = open_inception(WeightSource("inception.safetensors", tmp_path / "inception.safetensors"))
    (picture,) = squares(1, 96)
    (expected,) = network((picture.movedim(-1, 1) * 255).round().byte())
    assert expected.mean() > 1e-2
    assert torch.allclose(judge(picture).float(), expected, rtol=1e-4, atol=1e-6)
    other = saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    assert "not Inception's weights" in refusal(open_inception, WeightSource("clip.safetensors", other))


WORDS = ["[UNK]", "<image>", "Yes", "No", "USER", "ASSISTANT", "Does", "this", "figure", "show", "a", "red", "star"]


def small_seer(folder: Path) -> LlavaForConditionalGeneration:
    """A random model that sees and speaks, with a processor, as transformers keeps them in a folder."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", extra_special_tokens={"image_token": "<image>"}
    )
    template = "{% for m in messages %}USER {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
    template += "{{ c['text'] }}{% endif %}{% endfor %} ASSISTANT{% endfor %}"
    side = {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}}
    LlavaProcessor(
        CLIPImageProcessor(**side),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    text = LlamaConfig(vocab_size=len(WORDS), num_key_value_heads=2, **sizes)
    vision = CLIPVisionConfig(image_size=28, patch_size=14, **sizes)
    with torch.inference_mode(False):
        model = shaken(
            LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=1))
        )
    model.save_pretrained(folder)
    return model


def test_vqa_score_is_the_chance_of_yes(tmp_path):
    model = small_seer(tmp_path)
    judge = opened_judge("vqascore", tmp_path)
    one, _ = squares(2, 28)
    asked = 'USER <image> Does this figure show "a red star"? Please answer yes or no. ASSISTANT'
    given = judge.processor(
        text=[asked], images=[Image.fromarray((one[0] * 255).round().byte().numpy())], return_tensors="pt"
    )
    chance = model(**given).logits[0, -1].softmax(-1)[WORDS.index("Yes")].item()
    measured = judge.against(one, ["a red star"])(one)
    assert measured == {"vqa_score": pytest.approx(chance, rel=1e-4)} and 0 < chance < 1
    assert judge.against(one, [])(one) == {}
    (tmp_path / "empty").mkdir()
    assert "'empty' is no model of transformers that answers" in refusal(opened_judge, "vqascore", tmp_path / "empty")


def test_clip_is_a_judge_like_the_others(tmp_path):
    judge = ClipJudge(opened(saved(tmp_path / "clip.safetensors", theirs().state_dict())))
    one, other = pictures(2)
    made, wanted = (feature(theirs().get_image_features(pixel_values=pixels([given]))) for given in (one, other))
    measured = judge.against(other, CAPTIONS)(one)
    assert measured["clip_i"] == pytest.approx(cosine(made, wanted), abs=1e-5)
    assert list(measured) == ["clip_i", "clip_t", "clip_score"] and list(judge.against(one, ())(one)) == ["clip_i"]


# The table


def test_every_measure_gives_metrics_that_are_known():
    given = [key for measure in MEASURES.values() for key in measure.keys]
    assert sorted([*given, "clip_i", "clip_t", "clip_score"]) == sorted(METRICS)
    assert all(key == metric.key for key, metric in METRICS.items())


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["ssim"], "there is no measure 'ssim': choose dinov2, dinov3, csd"),
        (["csd"], "csd needs a file of CSD: write csd=NAME"),
        (["lpips", "LPIPS=vgg"], "the measure lpips is asked for twice"),
        (["csd=gone.pth"], "'gone.pth' is not there"),
    ],
)
def test_measures_that_cannot_be_are_refused(texts, said):
    def ask() -> None:
        for measure, source in read_measures(texts, Path).judges:
            measure.open(source)

    assert said in refusal(ask)


@pytest.mark.parametrize(
    ("name", "package"), [("lpips", "torchmetrics"), ("fid", "torchmetrics"), ("dinov2", "transformers")]
)
def test_a_package_that_is_missing_is_named_with_how_to_get_it(name, package, tmp_path, monkeypatch):
    shaken(Dinov2Model(Dinov2Config(**SMALL))).save_pretrained(tmp_path)
    for module in {package, *(module for module in sys.modules if module.split(".")[0] == package)}:
        monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "model.safetensors" if name == "dinov2" else None
    said = refusal(MEASURES[name].open, WeightSource(path.name if path else "", path))
    assert f"pip install {package}" in said
