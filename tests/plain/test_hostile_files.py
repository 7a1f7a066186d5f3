"""No file costs more than two seconds and 100 MB above its own size to be refused, whoever reads it."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.encoders.image_tower import described_architecture

from tests.adapters import random_adapter
from tests.plain.hostile import HOSTILE, cost_of, entries, header, tensor, zip_of
from tests.plain.public import write_safetensors, write_torch
from tests.plain.readers import READERS, Reader
from tests.refusals import file_refusal, refusal

SECONDS, MEGABYTES = 2.0, 100.0


@pytest.fixture(params=READERS)
def reader(request) -> Reader:
    return READERS[request.param]


def refusal_by(reader: Reader, path: Path) -> str:
    """What a user reads."""
    return file_refusal(path.name, reader, path, path.name)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Callable[[str], Path]:
    """Each file once."""
    folder, paths = tmp_path_factory.mktemp("hostile"), {}

    def make(name: str) -> Path:
        if name not in paths:
            paths[name] = HOSTILE[name](folder / f"{name}.bin")
        return paths[name]

    return make


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.xdist_group("hostile files")  # to write them takes seconds
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_two_seconds_and_100_mb_above_its_size(name, reader, made):
    path = made(name)
    cost = cost_of(lambda: refusal_by(reader, path))
    assert cost.seconds < SECONDS, cost
    assert cost.megabytes < MEGABYTES + path.stat().st_size / 2**20, cost


def test_the_meter_sees_memory_that_is_given_back():
    """Whether or not there is room to spare in the heap."""
    small = [bytes(2**16) for _ in range(5000)]  # too small for maps of their own
    del small[:-1]
    assert cost_of(lambda: (b"x" * (300 * 2**20)).count(b"y")).megabytes > 250


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    os.chdir(path.parent)  # the whole path is too long for one
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


NO_FILES = {"named pipe": make_pipe, "socket": make_socket, "device": make_device, "a device": make_terminal}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such things in a folder")
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_never_opened(kind, reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.safetensors"
    NO_FILES[kind](path)
    opened = threading.Event()
    writer = threading.Thread(target=lambda: (path.open("wb").close(), opened.set()), daemon=True)
    if kind == "named pipe":
        writer.start()  # it waits until somebody reads
    assert kind in refusal_by(reader, path)
    assert not opened.wait(0.01)
    if kind == "named pipe":
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        writer.join()


UNREAD = ["F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "Q7", "", "\\u0000"]


@pytest.mark.parametrize("kind", UNREAD)
def test_numbers_of_a_kind_that_is_not_read_are_named(kind, reader, tmp_path):
    entry = f'{{"dtype":"{kind}","shape":[2,64],"data_offsets":[0,128]}}'
    path = header(tmp_path / "a.safetensors", f'{{"ip_adapter.1.to_k_ip.weight":{entry}}}', bytes(128))
    assert f"stores numbers as {json.loads(chr(34) + kind + chr(34))!r}" in refusal_by(reader, path)


STRANGE = [
    "\x00",
    "a\x00b",
    "\ud800",
    "a\udfffb",
    "\\",
    "..\\..\\a",
    "ip_adapter\\1",
    "null",
    "",
    ".",
    "a\nb",
    "x" * 300,
]


@pytest.mark.parametrize("group", ["", "image_proj.", "ip_adapter.", "ip_adapter.1."])
@pytest.mark.parametrize("strange", STRANGE, ids=ascii)
def test_strange_names_of_tensors_are_refused(strange, group, reader, tmp_path):
    in_torch = zip_of(tmp_path / "a.bin", entries({group + strange: tensor("0", 4)}), {"0": bytes(16)})
    refusal_by(reader, in_torch)
    entry = '{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    path = header(tmp_path / "a.safetensors", f"{{{json.dumps(group + strange)}:{entry}}}", bytes(16))
    refusal_by(reader, path)


@pytest.mark.parametrize("key", [None, 3, True, 1.5, (1, 2), b"a"], ids=repr)
def test_names_that_are_no_text_are_refused(key, reader, tmp_path):
    refusal_by(reader, write_torch(tmp_path / "a.bin", {key: torch.zeros(2, 2), "image_proj": {key: torch.zeros(2)}}))


@pytest.mark.parametrize(
    "listed",
    [
        '{"a":null}',
        '{"__metadata__":null}',
        '{"__metadata__":{"a":null}}',
        '{"a":{"dtype":null,"shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}',
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":null}}',
    ],
)
def test_null_in_a_header_is_refused(listed, reader, tmp_path):
    refusal_by(reader, header(tmp_path / "a.safetensors", listed, bytes(4)))


@pytest.mark.parametrize("name", ["a\x00b", "\ud800", "~nobody/a\x00"], ids=ascii)
def test_a_path_that_no_file_can_have_is_refused(name, reader, tmp_path):
    refusal(reader, tmp_path / name, name)


@pytest.mark.parametrize("old", [False, True])
def test_a_file_of_as_many_tensors_as_a_model_has_is_read(old, tmp_path):
    file = random_adapter("base", (8, 16, 8), 64)
    unet = {f"unet.down_blocks.{i}.norm.weight": torch.zeros(1) for i in range(5000)}
    path = tmp_path / "a.bin"
    torch.save(unet | file.nested, path, _use_new_zipfile_serialization=not old)
    assert read_checkpoint(path).ip_adapter.keys() == file.ip_adapter.keys()


def test_a_header_of_long_texts_is_read(tmp_path):
    file = random_adapter("base", (8, 16, 8), 64)
    tags = json.dumps({f'a [tag] of "pictures" {i}': i for i in range(50_000)})
    assert read_checkpoint(write_safetensors(tmp_path / "a.safetensors", file.flat(), {"ss_tag_frequency": tags}))


MODEL = '{"model_cfg": {"embed_dim": 8, "vision_cfg": %s, "text_cfg": {}}}'
DESCRIBED = {
    "deep": "[" * 100_000,
    "NaN": MODEL % '{"width": NaN}',
    "without end": MODEL % '{"image_size": 1e400}',
    "huge": MODEL % f'{{"width": 1{"0" * 400}}}',
    "many layers": MODEL % '{"layers": 1000000}',
    "half a layer": MODEL % '{"layers": 1.5}',
    "many stages": MODEL % '{"layers": [1, 100000]}',
    "null": MODEL % "null",
    "a list": MODEL % "[1]",
    "no text": '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": null}}',
    "not UTF-8": "\udcff",
}


@pytest.mark.parametrize("kind", DESCRIBED)
def test_a_description_beside_a_file_is_refused_where_it_is_none(kind, tmp_path):
    (tmp_path / "a.json").write_text(DESCRIBED[kind], encoding="utf-8", errors="surrogateescape")
    file_refusal("a.json", described_architecture, tmp_path / "a.safetensors", "a.safetensors")
