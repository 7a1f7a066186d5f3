"""Every family is one row, with all that belongs to one; a new one needs no more than its row."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters import families
from pack.ipadapter.adapters.checkpoint import Checkpoint, shape
from pack.ipadapter.adapters.families import FAMILIES, TRAINABLE
from pack.ipadapter.adapters.family import Family, ProjectionSpec, TrainingStart, Unconditional
from pack.ipadapter.adapters.features import features_for
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import load_adapter
from pack.ipadapter.adapters.spec import AdapterSpec
from pack.ipadapter.attention.packing import Weighed, layer_rows, side_by_side
from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.library.description import describe_adapter
from pack.ipadapter.prompts.prompt import Feature, ImageFeatures, ImagePrompt, Part
from pack.ipadapter.strength.layers import LayerWeight
from pack.ipadapter.strength.strength import Scaling
from pack.ipadapter.training.fresh import new_spec
from pack.ipadapter.training.recipe import Recipe

from tests.adapters import PROJECTIONS, layer_shapes, linear, random_read, random_tensors
from tests.plain.public import KINDS, checkpoint_of, on_meta

ROOT = Path(__file__).resolve().parents[2]
HELP = (ROOT / "web" / "docs" / "LoadIPAdapter.md").read_text(encoding="utf-8").lower()
NAMES = [name for name in families.__all__ if isinstance(getattr(families, name), Family)]
# The test that compares each with the reference, or with its mathematics written out.
ORACLES = {
    "BASE": ("oracle/test_equality.py", "test_noise_prediction_equals_the_reference"),
    "FULL_FACE": ("oracle/test_equality.py", "test_noise_prediction_equals_the_reference"),
    "PLUS": ("oracle/test_equality.py", "test_noise_prediction_equals_the_reference"),
    "FACE_ID": ("oracle/test_faces.py", "test_the_noise_prediction_equals_the_reference"),
    "FACE_ID_PLUS": ("oracle/test_faces.py", "test_versions_and_their_structure_equal_the_reference"),
    "KOLORS_FACE_ID_PLUS": ("host/test_face_adapters.py", "test_kolors_tokens_go_through_the_narrowing_of_its_unet"),
    "PORTRAIT": ("oracle/test_faces.py", "test_the_noise_prediction_equals_the_reference"),
    "PORTRAIT_UNNORM": ("oracle/test_faces.py", "test_the_unnorm_portrait_equals_the_reference"),
    "INSTANTID": ("oracle/test_instantid.py", "test_adapter_and_controlnet_equal_the_authors_formula"),
    "XLABS": ("oracle/test_flux.py", "test_xlabs_equals_diffusers"),
    "INSTANTX_SD3": ("oracle/test_sd3.py", "test_instantx_equals_diffusers"),
    "INSTANT_CHARACTER": ("oracle/test_character.py", "test_instant_character_equals_its_authors_processor"),
    "INSTANTX_FLUX": ("oracle/test_flux.py", "test_instantx_equals_its_authors_processor"),
    "TOOLKIT_FLUX": ("oracle/test_flux.py", "test_ai_toolkits_adapters_equal_its_formula"),
    "TOOLKIT_FLUX_PLUS": (
        "oracle/test_flux.py",
        "test_ai_toolkits_plus_adapters_are_the_same_over_a_resampler",
    ),
}


SELF_TRAINED = {"TOOLKIT_FLUX", "TOOLKIT_FLUX_PLUS"}  # of which no file is published, to be found or linked


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def family(name) -> Family:
    return getattr(families, name)


def test_the_rows_are_all_there_is():
    assert {getattr(families, name) for name in NAMES} == {*FAMILIES} and len(FAMILIES) == len({*FAMILIES})


def test_a_copy_of_a_row_is_the_row(family):
    assert copy.deepcopy(family) is copy.copy(family) is family and str(family) == family.title


def test_every_family_has_a_public_layout_that_becomes_tokens(family):
    found = [(kind, identify(checkpoint_of(kind.tensors(on_meta), f"{name}.bin"))) for name, kind in KINDS.items()]
    of_it = [(kind, spec) for kind, spec in found if spec.family is family]
    assert of_it
    for kind, spec in of_it:
        adapter = load_adapter(checkpoint_of(kind.tensors(on_meta)), spec)
        tokens = adapter.image_proj(*(feature.to("meta") for feature in random_read(spec, 2, 7)))
        assert tokens.shape == (2, spec.projection.tokens or 7, spec.projection.context_dim)


def test_every_family_has_a_small_random_file(family):
    assert family.title in PROJECTIONS


def test_every_family_has_an_oracle(name):
    file, function = ORACLES[name]
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_family_has_rows_on_the_page_on_models_and_is_told_of_in_the_help(name, family):
    models = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert bool(family.published) is (name not in SELF_TRAINED)
    assert all(file.name in models for file in family.published)
    assert all(word.lower() in HELP for word in family.title.removesuffix(" unnorm").split())


def test_every_family_is_described(family):
    specs = (identify(checkpoint_of(kind.tensors(on_meta), f"{name}-v2.bin")) for name, kind in KINDS.items())
    said = describe_adapter(next(spec for spec in specs if spec.family is family))
    assert f"Kind: {family.title}" in said and f"Weight: {family.advice}" in said


def test_every_family_is_offered_under_a_name_and_in_one_order():
    offers = [offer for family in FAMILIES for offer in family.offers]
    assert sorted(offer.place for offer in offers) == [*range(1, len(offers) + 1)]
    assert len({offer.title for offer in offers}) == len(offers)
    found = {family.title for family in FAMILIES if family.published}
    assert {family.title for family in FAMILIES if family.offers} == found


def test_what_is_trained_is_what_has_a_start():
    assert [*TRAINABLE] == ["base", "plus", "XLabs FLUX", "FaceID", "FaceID Plus"]
    with pytest.raises(IPAdapterError, match="full-face, but what can be trained is base or plus or XLabs FLUX"):
        Recipe(families.FULL_FACE)
    with pytest.raises(IPAdapterError, match="kind is portrait, but what can be trained is base or plus"):
        families.trainable("portrait")


def test_a_face_adapter_whose_lora_is_elsewhere_is_not_gone_on_from():
    """Its keys and values were trained with it."""
    kind = families.FACE_ID
    bare = AdapterSpec("a", kind.start.projection(4, 512, 768), (8, 8))
    recipe = Recipe(kind)
    recipe.refuse_other_kind(replace(bare, lora_rank=128), "'a'", "model.", "leave init_from out")
    with pytest.raises(IPAdapterError, match="'a' was trained with a LoRA that its file does not hold, .* leave init_"):
        recipe.refuse_other_kind(bare, "'a'", "model.", "leave init_from out")


# A family that nobody has published: two linear maps of the image embedding, and eight tokens.
def read_doubled(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    dim, feature_dim = shape(checkpoint, "image_proj", "twice.0.weight", 2)
    return start_doubled(8, feature_dim, context_dim, dim)


def start_doubled(tokens: int, feature_dim: int, context_dim: int, dim: int = 64) -> ProjectionSpec:
    return ProjectionSpec(DOUBLED, feature_dim, context_dim, tokens, dim=dim)


class DoubledProjection(torch.nn.Module):
    def __init__(self, spec: ProjectionSpec, operations) -> None:
        super().__init__()
        width = spec.tokens * spec.context_dim
        self.spec = spec
        self.twice = torch.nn.Sequential(
            operations.Linear(spec.feature_dim, spec.dim), operations.Linear(spec.dim, width)
        )

    def forward(self, embeds: torch.Tensor) -> torch.Tensor:
        return self.twice(embeds).unflatten(1, (self.spec.tokens, self.spec.context_dim))


DOUBLED: Family = Family(
    title="doubled",
    reads=(Feature.IMAGE_EMBEDS,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=lambda checkpoint, context_dim: "twice.0.weight" in checkpoint.image_proj,
    read=read_doubled,
    projection=DoubledProjection,
    advice="whatever you like",
    training=TrainingStart(8, start_doubled),
)
WITH_IT = (*FAMILIES, DOUBLED)


def doubled_file() -> Checkpoint:
    shapes = linear("twice.0", 48, 32) | linear("twice.1", 8 * 64, 48)
    layers = layer_shapes((16, 32), 64)
    return Checkpoint("mine.bin", random_tensors(shapes, 1), random_tensors(layers, 2), {})


def test_a_new_family_is_one_row():
    """From its file to K' and V', its description and its training, by the row above alone."""
    spec = identify(doubled_file(), WITH_IT)
    assert (spec.family, spec.projection.tokens, spec.base) == (DOUBLED, 8, "a UNet with 64-wide text context")
    adapter = load_adapter(doubled_file(), spec)
    features = ImageFeatures(torch.randn(1, 32), None)
    prompt = ImagePrompt.known((Part(features),), features, "an encoder")
    shown, nothing = (adapter.tokens(*read) for read in features_for(spec, prompt, prompt.parts[0]))
    assert torch.equal(shown, adapter.image_proj(features.image_embeds))
    tokens = side_by_side(*(Weighed(one, torch.ones(1, 8, 1)) for one in (shown, nothing)))
    keys, values = layer_rows(adapter.layer_projections()[1], tokens, 4, LayerWeight(), 0.5, Scaling.VALUES)
    expected = 0.5 * adapter.layers[1].to_v_ip(tokens.rows)
    assert keys.still.shape == (2, 8 * 32) and torch.allclose(
        values.scaled, expected.unflatten(2, (4, 8)).transpose(1, 2).flatten(1)
    )
    assert "Kind: doubled, 8 image tokens 64 wide" in describe_adapter(spec)
    layers = (CrossAttentionLayer(("input", 1, 0), 16, 64, 2),)
    assert new_spec("new", DOUBLED, Recipe(DOUBLED).token_count, 32, layers).projection.tokens == 8


def test_the_first_family_that_recognises_a_file_has_it():
    greedy = replace(DOUBLED, title="greedy", recognise=lambda checkpoint, context_dim: True)
    greedy = replace(
        greedy, read=lambda checkpoint, context_dim: replace(read_doubled(checkpoint, context_dim), family=greedy)
    )
    assert identify(doubled_file(), (*WITH_IT, greedy)).family is DOUBLED
    assert identify(doubled_file(), (greedy, *WITH_IT)).family is greedy
