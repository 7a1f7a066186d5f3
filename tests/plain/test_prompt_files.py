"""Image prompts in files: what was saved comes back to the bit; anything else is one sentence."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.ipadapter.adapters.features import features_for
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.prompts.combining import Combination, combine_prompts
from pack.ipadapter.prompts.files import (
    open_prompt,
    prompt_digest,
    prompt_of_features,
    prompt_tensors,
    read_features,
    read_prompt,
    write_prompt,
)
from pack.ipadapter.prompts.prompt import (
    ImageFeatures,
    ImagePrompt,
    NoImage,
    Order,
    Overlap,
    Part,
    Region,
    same_encoder,
)
from pack.ipadapter.prompts.regions import place_in_region
from pack.ipadapter.version import VERSION
from safetensors.torch import save_file
from torch import Tensor

from tests.adapters import random_adapter
from tests.plain.public import assert_is_a_sentence, checkpoint_of, write_safetensors, write_torch
from tests.refusals import file_refusal

ROOT = Path(__file__).resolve().parents[2]
EMBED, HIDDEN, PATCHES = 24, 16, 5
quick = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
counter = itertools.count()


def made(images: int, seed: int = 1, dtype: torch.dtype = torch.float32, hidden: bool = True) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(images, EMBED, generator=generator).to(dtype)
    return ImageFeatures(
        embeds, torch.randn(images, PATCHES, HIDDEN, generator=generator).to(dtype) if hidden else None
    )


def full_prompt() -> ImagePrompt:
    """One with everything a part can have."""
    mask = torch.linspace(0, 1, 24).reshape(2, 3, 4)
    parts = (
        Part(made(2), made(1, 5), (0.1, 1 / 3), Order.FRAME_BY_FRAME, -0.7, Region(mask, Overlap.ADD)),
        Part(made(1, 2), None, None, Order.TOGETHER, 1.0, Region(mask[:1])),
        Part(made(3, 3)),
    )
    return ImagePrompt.known(parts, made(1, 9), "a small encoder (56 px, 24-wide embedding)", made(1, 8).image_embeds)


PROMPTS = {
    "everything": full_prompt(),
    "one image": ImagePrompt.known((Part(made(1)),), made(1, 9), "one"),
    "half precision": ImagePrompt.known((Part(made(2, 1, torch.float16)),), made(1, 9, torch.bfloat16), "half"),
    "no hidden states": ImagePrompt.known((Part(made(2, 1, hidden=False)),), made(1, 9, hidden=False), "ResNet"),
    "sequence embeddings": ImagePrompt.known(
        (Part(ImageFeatures(torch.randn(1, 7, 24), None)),), ImageFeatures(torch.randn(1, 7, 24), None), "SigLIP"
    ),
    "tiles": ImagePrompt.known((Part(ImageFeatures(torch.randn(1, 24), torch.randn(1, 40, 16))),), made(1, 9), "tiled"),
    "only hidden states": prompt_of_features(torch.randn(2, PATCHES, HIDDEN), made(1, 9), "foreign", "a.ipadpt"),
}


def fresh(tmp_path: Path, ending: str = "safetensors") -> Path:
    return tmp_path / f"{next(counter)}.{ending}"


def saved(tmp_path: Path, prompt: ImagePrompt) -> Path:
    return write_prompt(fresh(tmp_path), prompt)


def plain(prompt: ImagePrompt) -> Any:
    """A prompt as something that compares to the bit."""

    def bits(value: Any) -> Any:
        if isinstance(value, Tensor):
            return str(value.dtype), tuple(value.shape), value.contiguous().flatten().view(torch.uint8).tolist()
        if isinstance(value, NoImage):
            return [bits(value.zero_pixels), bits(value.black)]
        if dataclasses.is_dataclass(value):
            return [bits(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return [bits(one) for one in value] if isinstance(value, tuple) else value

    return bits(prompt)


def refused(path: Path) -> str:
    return file_refusal(path.name, read_prompt, path, path.name)


@pytest.mark.parametrize("name", PROMPTS)
def test_what_was_saved_comes_back_to_the_bit(name, tmp_path):
    prompt = PROMPTS[name]
    back = read_prompt(saved(tmp_path, prompt), "x")
    assert plain(back) == plain(prompt)
    assert same_encoder(back, prompt) and not same_encoder(back, dataclasses.replace(prompt, encoder="another"))


weights = st.one_of(st.floats(-5, 5), st.floats())
dtypes = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])


def often(usual: Any, *others: Any) -> st.SearchStrategy:
    """What is as a rule, and now and then is not."""
    return st.sampled_from([usual] * 24 + list(others))


@st.composite
def features(draw, images: int, dtype: torch.dtype) -> ImageFeatures:
    """What an encoder makes, and now and then what none does."""
    fill = draw(often(0.5, -1e4, 7e4, math.nan, math.inf))  # 7e4 is too large for half precision
    embeds = torch.full((images, draw(often(EMBED, 0, 7))), fill).to(dtype)
    hidden = torch.full((images, draw(often(PATCHES, 2)), draw(often(HIDDEN, 3))), fill).to(dtype)
    return ImageFeatures(embeds, draw(often(hidden, None)), draw(often(None, torch.zeros(images, 512))))


@st.composite
def masks(draw) -> Tensor:
    """What a mask may come as: a batch, of any type and any range."""
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    values = torch.linspace(draw(st.floats(1, 2)), draw(st.floats(-2, 2)), math.prod(shape)).reshape(shape)
    types = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8, torch.int64]
    return values.to(draw(st.sampled_from(types)))


@st.composite
def prompts(draw) -> ImagePrompt:
    """One as nodes make it of what they are given: parts, weights, negatives, regions in regions, several of them."""
    images, dtype = draw(st.integers(1, 3)), draw(dtypes)
    positive, zero = draw(features(images, dtype)), draw(features(1, dtype))
    negative = draw(st.one_of(st.none(), features(1, dtype)))
    each = draw(st.one_of(st.none(), st.lists(weights, min_size=images, max_size=images).map(tuple)))
    part = Part(positive, negative, each, draw(st.sampled_from(list(Order))), draw(weights))
    prompt = ImagePrompt.known((part,), zero, draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)))
    for mask in draw(st.lists(masks(), max_size=2)):
        prompt = place_in_region(prompt, mask, draw(weights), draw(st.sampled_from(list(Overlap))))
    if draw(st.booleans()):
        how = draw(st.sampled_from(list(Combination)))
        other = Part(draw(features(1, dtype)))
        prompt = combine_prompts([prompt, dataclasses.replace(prompt, parts=(other,))], how)
    return prompt


@settings(quick, max_examples=400)
@given(st.data())
def test_whatever_is_saved_is_loaded_again_to_the_bit_and_the_rest_is_a_sentence(tmp_path, data):
    path = fresh(tmp_path)
    try:
        prompt = data.draw(prompts())
        write_prompt(path, prompt)
    except IPAdapterError as error:
        assert_is_a_sentence(error, "")
        assert not path.exists()
    else:
        assert plain(read_prompt(path, "x")) == plain(prompt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8])
def test_a_region_is_saved_whatever_type_its_mask_is_of_and_a_little_outside_0_to_1(dtype, tmp_path):
    mask = torch.tensor([[[-0.05, 0.0, 1.0, 1.08]]]).to(dtype)
    back = read_prompt(saved(tmp_path, place_in_region(PROMPTS["one image"], mask, 1.0, Overlap.SHARE)), "x")
    assert back.parts[0].region.mask.tolist() == mask.float().clamp(0, 1).tolist()


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    overflown = dataclasses.replace(made(1), image_embeds=torch.full((1, EMBED), torch.inf))
    prompt = dataclasses.replace(PROMPTS["one image"], parts=(Part(overflown),))
    with pytest.raises(IPAdapterError, match="image_embeds with NaN, .*could not be loaded"):
        write_prompt(fresh(tmp_path), prompt)
    assert not list(tmp_path.iterdir())


def test_every_field_of_a_part_is_kept():
    """A new field has to be written too."""
    kinds = (Part, Region, NoImage, ImagePrompt)
    fields = {kind.__name__: {field.name for field in dataclasses.fields(kind)} for kind in kinds}
    assert fields == {
        "Part": {"positive", "negative", "weights", "order", "weight", "region"},
        "Region": {"mask", "overlap"},
        "NoImage": {"make_zero_pixels", "make_black"},
        "ImagePrompt": {"parts", "no_image", "encoder"},
    }


def test_views_and_shared_tensors_are_saved_in_full(tmp_path):
    all_of_it = made(4)
    shared = ImagePrompt.known((Part(all_of_it[:2]), Part(all_of_it[1:3], all_of_it[:1])), all_of_it[3:], "shared")
    turned = ImageFeatures(all_of_it.image_embeds.T.contiguous().T, None)
    for prompt in (shared, ImagePrompt.known((Part(turned),), made(1, hidden=False), "turned")):
        assert plain(read_prompt(saved(tmp_path, prompt), "x")) == plain(prompt)


def test_the_file_says_what_it_is(tmp_path):
    metadata = open_prompt(saved(tmp_path, full_prompt()), "x").metadata
    assert metadata["format"] == "image-prompt" and metadata["version"] == "1"
    assert metadata["encoder"] == full_prompt().encoder and metadata["pack"] == VERSION
    assert json.loads(metadata["shapes"])["parts.0.positive.penultimate"] == [2, PATCHES, HIDDEN]
    assert json.loads(metadata["parts"])[0] == {
        "weights": [0.1, 1 / 3],
        "order": "frame by frame",
        "weight": -0.7,
        "overlap": "add",
    }


def test_the_version_is_that_of_the_package():
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_a_full_disk_or_a_missing_folder_leaves_nothing_half_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IPAdapterError, match="what was there before is unchanged"):
        write_prompt(tmp_path / "file" / "a.safetensors", full_prompt())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    whole = saved(tmp_path, full_prompt()).read_bytes()
    path = fresh(tmp_path)
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)


@quick
@given(where=st.floats(0, 1), value=st.integers(0, 255), near_start=st.booleans())
def test_a_flipped_byte_is_noticed(where, value, near_start, tmp_path):
    data = bytearray(saved(tmp_path, PROMPTS["everything"]).read_bytes())
    data[int(where * ((1500 if near_start else len(data)) - 1))] = value
    path = fresh(tmp_path)
    path.write_bytes(data)
    try:
        back = read_prompt(path, path.name)
    except IPAdapterError as error:
        assert_is_a_sentence(error, path.name)
    else:  # in what nothing depends on: the version of the pack, the listed shapes, a blank
        assert plain(back) == plain(PROMPTS["everything"])


def rewritten(tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """A file whose hash is right, as somebody might make it by hand."""
    mark = prompt_digest(tensors, metadata.get("encoder", ""), metadata.get("parts", ""))
    path = fresh(tmp_path)
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, path, metadata | {"sha256": mark})
    return path


def contents() -> tuple[dict[str, Tensor], dict[str, str]]:
    prompt = full_prompt()
    fields = [
        {"weights": [0.5, 0.5], "order": "together", "weight": 1.0, "overlap": "share"},
        {"weights": None, "order": "together", "weight": 1.0, "overlap": "share"},
        {"weights": None, "order": "together", "weight": 1.0, "overlap": None},
    ]
    metadata = {"format": "image-prompt", "version": "1", "encoder": "x", "parts": json.dumps(fields)}
    return prompt_tensors(prompt), metadata


def test_a_file_made_by_hand_is_read_if_it_is_right(tmp_path):
    assert len(read_prompt(rewritten(tmp_path, *contents()), "x").parts) == 3


HANDS: dict[str, tuple[str, Any]] = {  # tensor -> what is put in its place, and what is said
    "no zero pixels": ("zero_pixels.image_embeds", None),
    "NaN": ("parts.0.positive.image_embeds", torch.full((2, EMBED), torch.nan)),
    "other width": ("parts.2.positive.image_embeds", torch.zeros(3, EMBED + 1)),
    "other hidden width": ("parts.2.positive.penultimate", torch.zeros(3, PATCHES, HIDDEN - 1)),
    "other images": ("parts.2.positive.penultimate", torch.zeros(2, PATCHES, HIDDEN)),
    "no images": ("parts.2.positive.image_embeds", torch.zeros(0, EMBED)),
    "scalar": ("parts.2.positive.image_embeds", torch.zeros(())),
    "four dimensions": ("parts.2.positive.penultimate", torch.zeros(3, 1, PATCHES, HIDDEN)),
    "whole numbers": ("parts.2.positive.image_embeds", torch.zeros(3, EMBED, dtype=torch.int64)),
    "negative of another encoder": ("parts.0.negative.image_embeds", torch.zeros(1, 7)),
    "two zero pixels": ("zero_pixels.image_embeds", torch.zeros(2, EMBED)),
    "two black pictures": ("black.image_embeds", torch.zeros(2, EMBED)),
    "black picture of another encoder": ("black.image_embeds", torch.zeros(1, EMBED + 1)),
    "hidden states of a black picture": ("black.penultimate", torch.zeros(1, PATCHES, HIDDEN)),
    "region above 1": ("parts.1.region", torch.full((1, 3, 4), 1.5)),
    "region of two dimensions": ("parts.1.region", torch.zeros(3, 4)),
    "region of NaN": ("parts.1.region", torch.full((1, 3, 4), torch.nan)),
    "one more": ("parts.7.positive.image_embeds", torch.zeros(1, EMBED)),
    "something else": ("lora_up.weight", torch.zeros(1)),
    "weights do not count its images": ("parts.0.positive.image_embeds", torch.zeros(1, EMBED)),
}


@pytest.mark.parametrize("case", HANDS)
def test_tensors_that_no_encoder_makes_are_refused(case, tmp_path):
    tensors, metadata = contents()
    name, tensor = HANDS[case]
    tensors = {key: value for key, value in (tensors | {name: tensor}).items() if value is not None}
    assert "the file is damaged: save the image prompt again" in refused(rewritten(tmp_path, tensors, metadata))


FIELDS: dict[str, Any] = {
    "nothing": "",
    "no JSON": "{",
    "no list": "{}",
    "empty": "[]",
    "deep": "[" * 100_000,
    "numbers": "[1, 2, 3]",
    "two of three": '[{"weights": null, "order": "together", "weight": 1, "overlap": "share"}]',
    "order": '[{"weights": null, "order": "apart", "weight": 1, "overlap": "share"}]',
    "weight": '[{"weights": null, "order": "together", "weight": "much", "overlap": "share"}]',
    "weight is NaN": '[{"weights": null, "order": "together", "weight": NaN, "overlap": "share"}]',
    "weight too large": '[{"weights": null, "order": "together", "weight": 1%s, "overlap": "share"}]' % ("0" * 400),
    "weights": '[{"weights": [1], "order": "together", "weight": 1, "overlap": "share"}]',
    "weights no list": '[{"weights": 3, "order": "together", "weight": 1, "overlap": "share"}]',
    "overlap": '[{"weights": null, "order": "together", "weight": 1, "overlap": "under"}]',
    "order missing": '[{"weights": null, "weight": 1, "overlap": "share"}]',
}


@pytest.mark.parametrize("case", FIELDS)
def test_fields_that_no_part_has_are_refused(case, tmp_path):
    tensors, metadata = contents()
    assert "save the image prompt again" in refused(rewritten(tmp_path, tensors, metadata | {"parts": FIELDS[case]}))


def test_a_later_format_asks_for_an_update(tmp_path):
    tensors, metadata = contents()
    text = refused(rewritten(tmp_path, tensors, metadata | {"version": "2"}))
    assert "of format 2, and this version of the pack reads format 1: update the pack" in text


def test_files_of_other_kinds_are_refused_by_what_is_in_them(tmp_path):
    adapter = write_safetensors(fresh(tmp_path), random_adapter("base", (8,), 32).flat())
    assert "holds no image prompt (image_proj.norm.bias" in refused(adapter)
    assert "is no safetensors file" in refused(write_torch(fresh(tmp_path), torch.zeros(1, 4)))
    page = fresh(tmp_path)
    page.write_bytes(b"<!DOCTYPE html>")
    assert "is a web page" in refused(page)


def foreign(tmp_path: Path, content: object) -> Path:
    return write_torch(fresh(tmp_path, "ipadpt"), content)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_another_packs_embedding_becomes_a_prompt(dtype, tmp_path):
    embeds = made(2).image_embeds.to(dtype)
    path = foreign(tmp_path, embeds)
    prompt = prompt_of_features(read_features(path, path.name), made(1, 9), "small", path.name)
    spec = identify(checkpoint_of(random_adapter("base", (8,), 32, embed=EMBED)))
    (positive,), (nothing,) = features_for(spec, prompt, prompt.parts[0])
    assert torch.equal(positive, embeds.float()) and torch.equal(nothing, torch.zeros(1, EMBED))


def test_another_packs_hidden_states_become_a_prompt_for_plus_adapters_only(tmp_path):
    hidden, zero_pixels = made(2).penultimate, made(1, 9)
    path = foreign(tmp_path, hidden)
    prompt = prompt_of_features(read_features(path, path.name), zero_pixels, "small", path.name)
    plus = identify(checkpoint_of(random_adapter("plus", (8,), 32, hidden=HIDDEN)))
    (positive,), (nothing,) = features_for(plus, prompt, prompt.parts[0])
    assert torch.equal(positive, hidden) and torch.equal(nothing, zero_pixels.penultimate)
    base = identify(checkpoint_of(random_adapter("base", (8,), 32, embed=EMBED)))
    with pytest.raises(IPAdapterError, match="gives 2 × 0 numbers"):
        features_for(base, prompt, prompt.parts[0])


@pytest.mark.parametrize("shape", [(2, EMBED + 1), (2, PATCHES, HIDDEN * 2)])
def test_another_encoders_features_are_refused_with_both_sides(shape):
    with pytest.raises(IPAdapterError) as error:
        prompt_of_features(torch.zeros(shape), made(1, 9), "small", "a.ipadpt")
    theirs = " × ".join(map(str, shape[1:]))
    assert str(error.value) == (
        f"'a.ipadpt' holds features shaped {theirs}, but the connected encoder is small, which makes {EMBED} and "
        f"{PATCHES} × {HIDDEN}: connect the clip_vision that made them."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.zeros(1, 4)], "holds a list"),
        ({"a": torch.zeros(1, 4)}, "holds a dict"),
        (torch.zeros(4), "a tensor of 1 dimensions"),
        (torch.zeros(0, 4), "a tensor of 2 dimensions"),
        (torch.zeros(1, 4).to_sparse(), "a tensor of 2 dimensions"),
        (torch.empty(1, 4, device="meta"), "a tensor of 2 dimensions"),
        (torch.full((1, 4), torch.inf), "NaN, infinite"),
        (torch.zeros(1, 4, dtype=torch.int32), "other than floating point"),
        (Path("x"), "a pickle of more than tensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.filterwarnings("ignore:Sparse invariant")
def test_other_contents_of_a_torch_file_are_refused(content, said, tmp_path):
    path = foreign(tmp_path, content)
    with pytest.raises(IPAdapterError, match=said) as error:
        read_features(path, path.name)
    assert_is_a_sentence(error.value, path.name)


@quick
@given(where=st.floats(0, 1), value=st.integers(0, 255), kept=st.floats(0.2, 1))
def test_a_damaged_torch_file_is_a_sentence_or_a_tensor(where, value, kept, tmp_path):
    data = bytearray(foreign(tmp_path, torch.ones(2, 4)).read_bytes())
    data[int(where * (len(data) - 1))] = value
    path = fresh(tmp_path, "ipadpt")
    path.write_bytes(data[: int(kept * len(data))])
    try:
        found = read_features(path, path.name)
    except IPAdapterError as error:
        assert_is_a_sentence(error, path.name)
    else:
        assert found.ndim in (2, 3) and bool(torch.isfinite(found).all())
