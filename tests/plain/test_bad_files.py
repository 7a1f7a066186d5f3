"""Damaged, unsafe and malformed files: one sentence that names the file, never anything else."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import load_adapter

from tests.adapters import AdapterFile, random_adapter
from tests.plain.public import Tensors, write_safetensors, write_torch
from tests.refusals import file_refusal

FEW = (8, 16, 8)


def good(family: str = "plus") -> AdapterFile:
    sizes = {"base": {}, "plus": {"tokens": 3, "dim": 64, "inner": 64, "depth": 2}, "full-face": {}}[family]
    return random_adapter(family, FEW, 64, **sizes)


def load(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    load_adapter(checkpoint, identify(checkpoint))


def refused(path: Path) -> str:
    """What a user reads when the file is loaded."""
    return file_refusal(path.name, load, path)


WRITERS: dict[str, Callable[[Path, AdapterFile], Path]] = {
    "safetensors": lambda path, file: write_safetensors(path, file.flat()),
    "torch": lambda path, file: write_torch(path, file.nested),
}


@pytest.mark.parametrize("container", WRITERS)
def test_a_file_cut_short_anywhere_is_refused(container, tmp_path):
    whole = WRITERS[container](tmp_path / "whole", good()).read_bytes()
    offsets = {1, 7, 8, 9, 63, 64, 65, len(whole) - 1, *range(2, len(whole), len(whole) // 60)}
    for offset in sorted(offsets):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(whole[:offset])
        refused(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.bin").touch()
    assert "0 bytes" in refused(tmp_path / "a.bin")


def test_a_folder_is_refused(tmp_path):
    assert "directory" in refused(tmp_path).lower()


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused(seed, tmp_path):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(
        torch.randint(256, (5000,), generator=torch.Generator().manual_seed(seed)).byte().numpy().tobytes()
    )
    refused(path)


class RunsCode:
    """A pickle that leaves a file behind when it is loaded without care."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


def test_the_trap_below_would_spring(tmp_path):
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["a.bin", "a.safetensors", "a.pt"])
def test_a_pickle_that_would_run_code_does_not(name, zipped, tmp_path):
    content = good().nested | {"extra": RunsCode(tmp_path / "ran")}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert "run code" in refused(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_that_would_run_code_does_not(tmp_path):
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"image_proj": RunsCode(tmp_path / "ran")}))
    refused(tmp_path / "a.bin")
    assert not (tmp_path / "ran").exists()


def header(text: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: tuple[int, ...] = (1,), offsets: tuple[int, int] = (0, 4)) -> bytes:
    return json.dumps({"image_proj.proj.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        header(b"{}", length=2**63),
        header(b"{}", length=2**40),
        header(b"{}", length=100_000_001),
        header(b"{}", length=1),
        header(b"{}"),
        header(b'{"__metadata__":{"format":"pt"}}'),
        header(b"{" * 3000),
        header(b'{"a": []}'),
        header(b'{"a": ' + b"[" * 20000 + b"]" * 20000 + b"}"),
        header(entry(shape=(2**60,)), data=bytes(4)),
        header(entry(shape=(2**32, 2**32)), data=bytes(4)),
        header(entry(shape=(2**63, 2)), data=bytes(4)),
        header(entry(offsets=(0, 2**40)), data=bytes(4)),
        header(entry(offsets=(4, 0)), data=bytes(4)),
        header(entry(dtype="F4"), data=bytes(4)),
        header(entry(dtype="Q7"), data=bytes(4)),
        header(entry(dtype="U64", offsets=(0, 8)), data=bytes(8)),
        header(entry(dtype="C64", offsets=(0, 8)), data=bytes(8)),
        header(entry(shape=(), offsets=(0, 4)), data=bytes(4)),
        header(entry(shape=(0,), offsets=(0, 0))),
    ],
)
def test_a_safetensors_header_that_lies_is_refused(content, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    refused(path)


def changed(key: str, tensor: torch.Tensor | None, family: str = "plus") -> Tensors:
    """A good adapter with one tensor replaced, or left out."""
    flat = good(family).flat()
    return {k: t for k, t in (flat | {key: tensor}).items() if t is not None}


LAYER, PROJECTION = "ip_adapter.1.to_k_ip.weight", "image_proj.proj_out.weight"


@pytest.mark.parametrize("key", [LAYER, PROJECTION])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_weights_that_are_no_numbers_are_refused(number, key, tmp_path):
    tensor = good().flat()[key].clone()
    tensor[0, 0] = number
    assert key in refused(write_safetensors(tmp_path / "a.safetensors", changed(key, tensor)))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.uint8, torch.complex64])
@pytest.mark.parametrize("key", [LAYER, PROJECTION])
def test_weights_that_are_not_floating_point_are_refused(key, dtype, tmp_path):
    text = refused(write_torch(tmp_path / "a.bin", changed(key, good().flat()[key].to(dtype))))
    assert key in text and str(dtype) in text


@pytest.mark.parametrize("key", [LAYER, PROJECTION, "image_proj.latents", "image_proj.layers.0.0.to_q.weight"])
def test_a_tensor_of_another_shape_is_refused(key, tmp_path):
    tensor = good().flat()[key]
    for other in (
        tensor[:-1],
        tensor[..., :-1],
        tensor.unsqueeze(0),
        tensor.flatten(),
        tensor[:0],
        tensor.new_zeros(()),
    ):
        refused(write_safetensors(tmp_path / "a.safetensors", changed(key, other)))


@pytest.mark.parametrize("family", ["base", "plus", "full-face"])
def test_every_single_missing_tensor_is_noticed(family, tmp_path):
    for key in good(family).flat():
        refused(write_safetensors(tmp_path / "a.safetensors", changed(key, None, family)))


# what an encoder's features are multiplied with: any width is an adapter for some encoder
READS_FEATURES = {"base": "proj.weight", "plus": "proj_in.weight", "full-face": "proj.0.weight"}


@pytest.mark.parametrize("family", READS_FEATURES)
def test_every_single_tensor_of_another_width_is_noticed(family, tmp_path):
    flat = good(family).flat()
    for key in flat.keys() - {f"image_proj.{READS_FEATURES[family]}"}:
        tensor = flat[key]
        wider = torch.cat([tensor, tensor[..., :1]], dim=-1)
        refused(write_safetensors(tmp_path / "a.safetensors", changed(key, wider, family)))


@pytest.mark.parametrize(
    "key",
    [
        "image_proj.extra.weight",
        "image_proj.norm.weight",
        "ip_adapter.2.to_k_ip.weight",
        "ip_adapter.01.to_k_ip.weight",
        "ip_adapter.1.to_k_ip.bias",
        "ip_adapter.1.to_q_ip.weight",
        "ip_adapter.99.to_k_ip.weight",
        "ip_adapter." + "9" * 6000 + ".to_k_ip.weight",
        "ip_adapter.١.to_k_ip.weight",
        "ip_adapter.1.to_k_ip\nweight",
        "image_proj.\x00",
    ],
)
def test_a_tensor_too_many_is_noticed(key, tmp_path):
    flat = changed(key, torch.zeros(8, 64))
    refused(write_safetensors(tmp_path / "a.safetensors", flat))


def test_even_layer_numbers_are_refused(tmp_path):
    file = good()
    even = {f"ip_adapter.{int(key.split('.')[0]) + 1}.{key.split('.', 1)[1]}": t for key, t in file.ip_adapter.items()}
    flat = {key: tensor for key, tensor in file.flat().items() if key.startswith("image_proj.")} | even
    assert "1, 3, 5" in refused(write_safetensors(tmp_path / "a.safetensors", flat))


def test_layers_of_another_context_width_are_refused(tmp_path):
    flat = good("base").flat()
    other = random_adapter("base", FEW, 48).flat()
    mixed = {key: other[key] if key.startswith("ip_adapter.") else tensor for key, tensor in flat.items()}
    assert "mixes two adapters" in refused(write_safetensors(tmp_path / "a.safetensors", mixed))


def test_two_layouts_of_one_adapter_in_a_file_are_refused(tmp_path):
    both = good().flat() | good().flat("image_proj_model.", "adapter_modules.")
    assert "under two names" in refused(write_safetensors(tmp_path / "a.safetensors", both))


def test_the_same_name_nested_and_flat_is_refused(tmp_path):
    file = good()
    assert "twice" in refused(write_torch(tmp_path / "a.bin", file.nested | {LAYER: torch.zeros(8, 64)}))


def holds_itself() -> dict:
    content: dict = dict(good().nested)
    content["ip_adapter"]["again"] = content
    return content


def deep(levels: int) -> dict:
    content: dict = {"weight": torch.zeros(1)}
    for _ in range(levels):
        content = {"image_proj": content}
    return content


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3),
        [torch.zeros(3)],
        [good().nested],
        {},
        {"image_proj": {}, "ip_adapter": {}},
        {"image_proj": list(good().image_proj.values()), "ip_adapter": list(good().ip_adapter.values())},
        {"image_proj": [good().image_proj], "ip_adapter": [good().ip_adapter]},
        {"image_proj": None, "ip_adapter": 3},
        {0: torch.zeros(1), None: torch.zeros(1)},
        {"a": "text"},
        deep(40),
        "text",
        None,
    ],
    ids=lambda content: type(content).__name__,
)
def test_a_torch_file_of_something_else_is_refused(content, tmp_path):
    refused(write_torch(tmp_path / "a.bin", content))


def test_a_dictionary_that_holds_itself_ends(tmp_path):
    refused(write_torch(tmp_path / "a.bin", holds_itself()))


NOT_IN_FULL: dict[str, Callable[[], torch.Tensor]] = {
    "sparse": lambda: torch.zeros(8, 64).to_sparse(),
    "sparse by rows": lambda: torch.zeros(8, 64).to_sparse_csr(),
    "only a shape": lambda: torch.zeros(8, 64, device="meta"),
    "repeated": lambda: torch.zeros(1, 1).expand(8, 64),
    "repeated beyond any memory": lambda: torch.zeros(1, 1).expand(2**40, 64),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(8, 64), 0.1, 0, torch.qint8),
    "empty": lambda: torch.zeros(0, 64),
}


@pytest.mark.parametrize("name", NOT_IN_FULL)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_are_not_stored_in_full_are_refused(name, tmp_path):
    assert LAYER in refused(write_torch(tmp_path / "a.bin", changed(LAYER, NOT_IN_FULL[name]())))


def test_parameters_in_a_torch_file_are_weights_like_others(tmp_path):
    with torch.inference_mode(False):
        flat = {key: torch.nn.Parameter(tensor.clone()) for key, tensor in good().flat().items()}
        path = write_torch(tmp_path / "a.bin", flat)
    checkpoint = read_checkpoint(path)
    assert not any(parameter.requires_grad for parameter in load_adapter(checkpoint, identify(checkpoint)).parameters())


def test_a_diffusers_unet_with_two_adapters_is_refused(tmp_path):
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_ip.{}.weight"
    flat = {layer.format(i): torch.zeros(8, 64) for i in (0, 1)}
    flat |= {f"encoder_hid_proj.image_projection_layers.{i}.norm.weight": torch.zeros(64) for i in (0, 1)}
    assert "several IP-Adapters" in refused(write_safetensors(tmp_path / "a.safetensors", flat))
