"""Training against a model whose layers had no weights until they were loaded: the same numbers as without."""

from __future__ import annotations

import pytest
import torch
from comfy.model_patcher import ModelPatcherDynamic
from pack.ipadapter.adapters.families import BASE, PLUS
from pack.ipadapter.adapters.family import Family
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.training.frozen import own_clone
from pack.ipadapter.host.training.node import Trained, train_adapter
from pack.ipadapter.host.training.watching import TrainingWatch
from pack.ipadapter.training.recipe import Recipe

from tests.dynamic.vram import both_ways, dynamic_vram, is_lazy
from tests.host.test_encoder import random_encoder
from tests.host.test_training import micro, pictures

STEPS = 4


def trained(kind: Family, checkpointing: bool = False, start=None) -> Trained:
    """A run on a model that is built now."""
    lazy = is_lazy()
    with dynamic_vram(False):
        encoder = random_encoder("CLIP")
    with dynamic_vram(lazy):
        recipe = Recipe(kind, steps=STEPS, batch_size=2, seed=1)
        watch = TrainingWatch(recipe.steps, lambda line: None)
        return train_adapter(micro(), encoder, pictures(), recipe, "auto", checkpointing, start, watch)


def state(adapter) -> dict[str, torch.Tensor]:
    return adapter.patcher.model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() != set() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointed"])
@pytest.mark.parametrize("kind", [BASE, PLUS], ids=lambda kind: kind.title)
def test_a_run_learns_what_it_learns_without(kind, checkpointing):
    dynamic, plain = both_ways(lambda: trained(kind, checkpointing))
    assert dynamic.losses == plain.losses and len(set(plain.losses)) == STEPS
    assert same(state(dynamic.adapter), state(plain.adapter))


def test_what_was_learned_is_saved_read_again_and_gone_on_from(output):
    def gone_on() -> list[float]:
        first = trained(PLUS).adapter
        path = save_to_output(first, "ipadapter/mine")
        again = load_adapter_file(path, path.name)
        assert same(state(first), state(again))
        return trained(PLUS, start=again).losses

    dynamic, plain = both_ways(gone_on)
    assert dynamic == plain


def test_a_model_that_cannot_be_loaded_again_is_refused_in_a_sentence():
    dynamic = ModelPatcherDynamic(micro().model, torch.device("meta"), torch.device("cpu"))
    assert dynamic.is_dynamic()
    with pytest.raises(IPAdapterError, match="Load Checkpoint.*--disable-dynamic-vram"):
        own_clone(dynamic, None)


def test_a_model_of_the_hosts_loaders_is_loaded_again_without_dynamic_vram():
    dynamic = ModelPatcherDynamic(micro().model, torch.device("meta"), torch.device("cpu"))
    dynamic.cached_patcher_init = (lambda disable_dynamic: micro(), ())
    clone = own_clone(dynamic, None)
    assert not clone.is_dynamic() and clone.model is not dynamic.model
