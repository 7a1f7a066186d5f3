"""Adapter files damaged at random: a sentence of ours, or a module whose tokens are right. Nothing in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import IPAdapter, load_adapter
from pack.ipadapter.adapters.spec import AdapterSpec
from pack.ipadapter.errors import IPAdapterError

from tests.adapters import random_adapter, random_read
from tests.plain.public import Tensors, assert_is_a_sentence, write_safetensors, write_torch

FEW = (8, 16, 8)
PATCHES = 5

FAMILIES: dict[str, dict[str, int]] = {
    "base": {"embed": 24, "tokens": 3},
    "plus": {"hidden": 24, "tokens": 3, "dim": 64, "inner": 64, "depth": 1},
    "full-face": {"hidden": 24},
    "FaceID": {"tokens": 3, "dim": 8},
    "FaceID Plus": {"hidden": 24, "tokens": 3, "depth": 1},
}
FILES = {family: random_adapter(family, FEW, 64, **sizes).flat() for family, sizes in FAMILIES.items()}

quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check_outcome(path: Path) -> bool:
    """Whether the file loaded. An error must be ours, a success must be right."""
    try:
        checkpoint = read_checkpoint(path)
        spec = identify(checkpoint)
        adapter = load_adapter(checkpoint, spec).float()
    except IPAdapterError as error:
        assert_is_a_sentence(error, path.name)
        return False
    check_tokens(adapter, spec)
    return True


def check_tokens(adapter: IPAdapter, spec: AdapterSpec) -> None:
    """What the spec says is what the module does, with numbers that can be used."""
    tokens = adapter.tokens(*random_read(spec, 2, PATCHES))
    assert tokens.shape == (1, 2 * (spec.projection.tokens or PATCHES), spec.context_dim)
    assert torch.isfinite(tokens).all()
    assert len(adapter.layers) == len(spec.channels) > 0
    for layer, channels in zip(adapter.layers, spec.channels, strict=True):
        for out in (layer.to_k_ip(tokens), layer.to_v_ip(tokens)):
            assert out.shape == (*tokens.shape[:2], channels) and torch.isfinite(out).all()


@dataclass(frozen=True)
class Container:
    """A file format, and how a flat dictionary is written in it."""

    ending: str
    write: Callable[[Path, Tensors], Path]


def write_nested(path: Path, flat: Tensors) -> Path:
    """As `.bin` files are; a name without a group stays at the top."""
    nested: dict[str, object] = {}
    for key, tensor in flat.items():
        group, _, rest = key.partition(".")
        place = nested.setdefault(group, {}) if rest else nested
        if isinstance(place, dict):
            place[rest or group] = tensor
    return write_torch(path, nested)


CONTAINERS = {
    "safetensors": Container("safetensors", write_safetensors),
    "nested torch": Container("bin", write_nested),
    "flat torch": Container("bin", write_torch),
}
counter = itertools.count()


def fresh(tmp_path: Path, ending: str) -> Path:
    return tmp_path / f"{next(counter)}.{ending}"


def whole_files(tmp_path: Path) -> dict[tuple[str, str], bytes]:
    return {
        (family, name): container.write(fresh(tmp_path, container.ending), flat).read_bytes()
        for family, flat in FILES.items()
        for name, container in CONTAINERS.items()
    }


@pytest.fixture(scope="module")
def bytes_of(tmp_path_factory) -> dict[tuple[str, str], bytes]:
    return whole_files(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_files_before_mutation_are_good(family, container, tmp_path):
    kind = CONTAINERS[container]
    assert check_outcome(kind.write(fresh(tmp_path, kind.ending), FILES[family]))


@dataclass(frozen=True)
class Flip:
    """A byte set to a value: near the start, where formats keep their names and sizes, or anywhere."""

    where: float
    near_start: bool
    value: int

    def apply(self, data: bytearray) -> None:
        reach = min(len(data), 4096) if self.near_start else len(data)
        data[int(self.where * (reach - 1))] = self.value


flips = st.builds(Flip, st.floats(0, 1), st.booleans(), st.integers(0, 255))
which = st.tuples(st.sampled_from(sorted(FAMILIES)), st.sampled_from(sorted(CONTAINERS)))


@quick
@given(which=which, flips=st.lists(flips, min_size=1, max_size=4))
def test_flipped_bytes(which, flips, bytes_of, tmp_path):
    data = bytearray(bytes_of[which])
    for flip in flips:
        flip.apply(data)
    path = fresh(tmp_path, CONTAINERS[which[1]].ending)
    path.write_bytes(data)
    check_outcome(path)
    path.unlink()


@quick
@given(which=which, kept=st.floats(0, 1), tail=st.binary(max_size=16))
def test_truncated_or_garbled_ends(which, kept, tail, bytes_of, tmp_path):
    data = bytes_of[which]
    path = fresh(tmp_path, CONTAINERS[which[1]].ending)
    path.write_bytes(data[: int(kept * (len(data) - 1))] + tail)
    check_outcome(path)
    path.unlink()


# One change of a dictionary of tensors: (tensors, a key of it, another key of it, free text) to other tensors.
Change = Callable[[Tensors, str, str, str], Tensors]


def replaced(tensors: Tensors, key: str, tensor: torch.Tensor) -> Tensors:
    return tensors | {key: tensor}


def renamed(tensors: Tensors, key: str, name: str) -> Tensors:
    return {name if k == key else k: tensor for k, tensor in tensors.items()}


def without(tensors: Tensors, key: str) -> Tensors:
    return {k: tensor for k, tensor in tensors.items() if k != key}


def filled(number: float) -> Change:
    def change(tensors: Tensors, key: str, other: str, text: str) -> Tensors:
        tensor = tensors[key].float().clone()
        tensor.view(-1)[:1] = number
        return replaced(tensors, key, tensor)

    return change


def stored_as(dtype: torch.dtype) -> Change:
    return lambda tensors, key, other, text: replaced(tensors, key, tensors[key].to(dtype))


def reshaped(shape: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda tensors, key, other, text: replaced(
        tensors, key, shape(torch.atleast_1d(tensors[key].float())).contiguous()
    )


CHANGES: dict[str, Change] = {
    "drop": lambda tensors, key, other, text: without(tensors, key),
    "rename": lambda tensors, key, other, text: renamed(tensors, key, text),
    "rename within its group": lambda tensors, key, other, text: renamed(tensors, key, f"{key.split('.')[0]}.{text}"),
    "overwrite another": lambda tensors, key, other, text: replaced(tensors, other, tensors[key]),
    "swap": lambda tensors, key, other, text: tensors | {key: tensors[other], other: tensors[key]},
    "add": lambda tensors, key, other, text: tensors | {text: tensors[key].clone()},
    "renumber": lambda tensors, key, other, text: renamed(tensors, key, key.replace("1.", "7.", 1)),
    "second layout": lambda tensors, key, other, text: (
        tensors
        | {key.replace("image_proj.", "image_proj_model.").replace("ip_adapter.", "adapter_modules."): tensors[key]}
    ),
    "NaN": filled(float("nan")),
    "infinity": filled(float("inf")),
    "huge": filled(3e38),
    "transpose": reshaped(lambda tensor: tensor.movedim(0, -1)),
    "flatten": reshaped(torch.flatten),
    "cut": reshaped(lambda tensor: tensor[:-1]),
    "cut the last": reshaped(lambda tensor: tensor[..., :-1]),
    "double": reshaped(lambda tensor: torch.cat([tensor, tensor])),
    "lift": reshaped(lambda tensor: tensor[None]),
    "empty": reshaped(lambda tensor: tensor[:0]),
    "scalar": reshaped(lambda tensor: tensor.new_zeros(())),
    **{
        f"as {dtype}": stored_as(dtype)
        for dtype in (
            torch.float16,
            torch.bfloat16,
            torch.float64,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.int32,
            torch.uint8,
            torch.bool,
            torch.complex64,
        )
    },
}

NAMES = ["latents", "proj.weight", "proj.3.weight", "norm.weight", "image_proj", "ip_adapter.1.to_k_ip.weight"]
names = st.sampled_from(NAMES) | st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12
)


@dataclass(frozen=True)
class Mutation:
    """A named change of two chosen tensors."""

    change: str
    first: int
    second: int
    text: str

    def apply(self, tensors: Tensors) -> Tensors:
        keys = sorted(tensors)
        pick = [keys[index % len(keys)] for index in (self.first, self.second)]
        return CHANGES[self.change](tensors, *pick, self.text)


index = st.integers(0, 40)  # of a key: more than any of the files has
mutations = st.lists(st.builds(Mutation, st.sampled_from(sorted(CHANGES)), index, index, names), min_size=1, max_size=3)


@settings(quick, max_examples=400)
@pytest.mark.filterwarnings("ignore:Casting complex")
@given(which=which, mutations=mutations)
def test_changed_tensors(which, mutations, tmp_path):
    family, container = which
    flat = FILES[family]
    for mutation in mutations:
        flat = mutation.apply(flat)
    kind = CONTAINERS[container]
    path = kind.write(fresh(tmp_path, kind.ending), flat)
    check_outcome(path)
    path.unlink()
