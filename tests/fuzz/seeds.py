"""Good inputs of every kind, small, as the libraries that make them write them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
from pack.ipadapter.commands.evaluate.rows import RESULT_COLUMNS
from pack.ipadapter.prompts.files import write_prompt
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tests.adapters import random_adapter
from tests.image_prompts import face_prompt, image_prompt
from tests.legacy_graphs import graph_of

ROOT = Path(__file__).resolve().parents[2]
FAMILIES: dict[str, dict[str, int]] = {
    "base": {"embed": 8, "tokens": 2},
    "plus": {"hidden": 8, "tokens": 2, "dim": 64, "inner": 64, "depth": 1},
    "FaceID": {"tokens": 2, "dim": 8},
}
ADAPTERS = {family: random_adapter(family, (4, 8), 8, **sizes) for family, sizes in FAMILIES.items()}
TOWER = {
    "visual.class_embedding": torch.zeros(8),
    "visual.conv1.weight": torch.zeros(8, 3, 4, 4),
    "visual.positional_embedding": torch.zeros(5, 8),
    "visual.proj": torch.zeros(8, 4),
    "visual.transformer.resblocks.0.attn.in_proj_weight": torch.zeros(24, 8),
    "visual.transformer.resblocks.0.mlp.c_fc.weight": torch.zeros(32, 8),
}
SIGLIP = {
    "vision_model.embeddings.patch_embedding.weight": torch.zeros(768, 3, 1, 1),
    "vision_model.embeddings.position_embedding.weight": torch.zeros(1, 768),
    "vision_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(1, 768),
    "vision_model.head.attention.in_proj_bias": torch.zeros(3 * 768),
}
NODES = ("IPAdapterAdvanced", "IPAdapterUnifiedLoader", "IPAdapterEmbeds", "IPAdapterRegionalConditioning")


def saved(content: object, **how: Any) -> bytes:
    """A torch file."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def flat_files() -> list[dict[str, Tensor]]:
    return [*(file.flat() for file in ADAPTERS.values()), TOWER, SIGLIP]


def prompt_files() -> list[bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.safetensors"
        return [write_prompt(path, prompt).read_bytes() for prompt in (image_prompt(negatives=1), face_prompt())]


def safetensors_files() -> list[bytes]:
    return [*map(safetensors.torch.save, flat_files()), *prompt_files()]


def headers() -> list[bytes]:
    return [file[8 : 8 + int.from_bytes(file[:8], "little")] for file in safetensors_files()]


def torch_files() -> list[bytes]:
    nested = [file.nested for file in ADAPTERS.values()]
    old = [saved(content, _use_new_zipfile_serialization=False) for content in nested]
    return [*map(saved, nested), *old, saved(torch.zeros(1, 5, 8)), saved({"state_dict": TOWER})]


def pickles() -> list[bytes]:
    zipped = (file for file in torch_files() if zipfile.is_zipfile(io.BytesIO(file)))
    return [zipfile.ZipFile(io.BytesIO(file)).read("archive/data.pkl") for file in zipped]


def descriptions() -> list[bytes]:
    tower = {"layers": 2, "width": 8, "head_width": 4, "patch_size": 4, "image_size": 8}
    text = {"context_length": 77, "vocab_size": 100, "width": 8, "heads": 2, "layers": 1}
    timm = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "image_size": 16}
    given = [{"embed_dim": 8, "vision_cfg": vision, "text_cfg": text} for vision in (tower, timm)]
    return [json.dumps({"model_cfg": cfg, "preprocess_cfg": {"mean": [0.5] * 3}}).encode() for cfg in given]


def typed_texts() -> list[bytes]:
    return [b"0: 1, input 1.0: 0.5; middle: 0\nall: .2", b"0: 1, 50%: 0.3, 1: -.5", b"1, 0.5 0.25;2", b"a{0..3}b{x,y}"]


def prompts() -> list[bytes]:
    graphs = [graph_of(node, optional).api for node in NODES for optional in (True, False)]
    return [json.dumps(graph).encode() for graph in graphs]


def workflows() -> list[bytes]:
    return [json.dumps(graph_of(node).ui, indent=indent).encode() for node in NODES for indent in (None, 2)]


def pictures() -> list[bytes]:
    made = []
    for mode, ending in (
        ("RGB", "png"),
        ("I;16", "png"),
        ("P", "png"),
        ("RGB", "jpeg"),
        ("RGBA", "webp"),
        ("L", "bmp"),
    ):
        buffer, texts = io.BytesIO(), PngInfo()
        texts.add_text("prompt", prompts()[0].decode(), zip=mode == "P")
        more = {"pnginfo": texts} if ending == "png" else {}
        Image.new(mode, (24, 16)).save(buffer, ending, **more)
        made.append(buffer.getvalue())
    return made


def configurations() -> list[bytes]:
    smallest = b'[model]\ncheckpoint = "a"\nclip_vision = "b"\n[data]\nfolder = "c"\n[output]\nfolder = "d"\n'
    return [smallest, (ROOT / "docs" / "training.toml").read_bytes()]


def tables() -> list[bytes]:
    row = ["a.png", "1", "a cat", *["0.5"] * (len(RESULT_COLUMNS) - 3)]
    evaluated = f"{','.join(RESULT_COLUMNS)}\n{','.join(row)}\n"
    journal = "step,loss,learning_rate,examples_per_second\r\n1,0.5,1e-4,2.5\r\n"
    captions = 'image,caption\na.png,"a cat, and\na dog"\n'
    return [evaluated.encode(), journal.encode(), captions.encode(), captions.encode("utf-16")]


def lists() -> list[bytes]:
    return [b'{"file_name": "a.png", "text": "a cat"}\n\n{"file_name": "b.png", "text": null}\n']


def captions() -> list[bytes]:
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "id": 2, "caption": "a cat"}],
    }
    return [json.dumps(one).encode() for one in (coco, {"a.jpg": "a cat"}, {"a.jpg": ["a cat", "a dog"]})]


def texts() -> list[bytes]:
    return [b"a cat", "eine Katze für zwei".encode("utf-16"), "\ufeffa cat".encode()]


def shards() -> list[bytes]:
    made = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
            for name, content in (("a/1.png", pictures()[0]), ("a/1.txt", b"a cat"), ("a/2.png", b"")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        made.append(buffer.getvalue())
    return made
