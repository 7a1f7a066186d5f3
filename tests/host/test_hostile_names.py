"""Names that no file can have, things in a model folder that are none, and disks that take nothing: one sentence."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import folder_paths
import pytest
from pack.ipadapter.host.adapters.adapter import open_adapter
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.encoders.open_clip import open_encoder
from pack.ipadapter.host.faces.models import find_pack, missing_pack, register_face_folder
from pack.ipadapter.host.files import HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS, missing_file, register_adapter_folder
from pack.ipadapter.host.library.finding import Finder, listing
from pack.ipadapter.host.prompts.files import load_prompt, missing_prompt, prompt_names, save_prompt
from pack.nodes.load import LoadIPAdapter, LoadOpenCLIPVision, LoadSigLIPVision
from pack.nodes.prompt_files import LoadImagePrompt

from tests import small
from tests.image_prompts import image_prompt
from tests.refusals import refusal
from tests.world import adapter_file, host_adapter

HALVES, SLASHES = ["\ud800", "a\udfff.bin"], ["..\\..\\a.bin", "\\", "../../a"]
NAMES = [None, 3, "", "\0", "a\0.safetensors", *HALVES, *SLASHES, "null", "~nobody", "x" * 5000]


def sentence_of(attempt) -> str:
    text = refusal(attempt)
    assert "Error" not in text, text
    return text


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Model folders, input and output of this test alone."""
    register_adapter_folder()
    register_face_folder()
    for folder in (HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS):
        (tmp_path / folder).mkdir()
        endings = folder_paths.folder_names_and_paths[folder][1]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, folder, ([str(tmp_path / folder)], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_no_file_has_is_refused_wherever_a_file_is_chosen(name):
    for attempt in (
        lambda: open_adapter(name),
        lambda: open_encoder(name, "auto"),
        lambda: load_prompt(name),
        lambda: find_pack(name),
        lambda: LoadIPAdapter.execute(name),
        lambda: LoadOpenCLIPVision.execute(name, "auto"),
        lambda: LoadSigLIPVision.execute(name),
        lambda: LoadImagePrompt.execute(name),
    ):
        sentence_of(attempt)
    for told in (missing_file(HOST_ADAPTERS, name), missing_prompt(name), missing_pack(name)):
        assert isinstance(told, str)
    if name is not None:
        assert isinstance(LoadIPAdapter.validate_inputs(name), str)


@pytest.mark.parametrize("prefix", [None, 3, "a\0b", "\ud800", "../out", "/out"], ids=ascii)
def test_a_prefix_that_no_file_has_is_refused(prefix):
    sentence_of(lambda: save_prompt(image_prompt(), prefix))
    sentence_of(lambda: save_to_output(host_adapter(adapter_file(small.MICRO, "base")), prefix))


def test_half_a_character_in_a_licence_does_not_lose_the_adapter():
    path = save_to_output(host_adapter(adapter_file(small.MICRO, "base")), "mine", "CC \ud800")
    assert path.stat().st_size > 1000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such things in a folder")
def test_pipes_and_devices_in_model_folders_are_never_opened(folders):
    for folder in (HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS):
        os.mkfifo(folders / folder / "pipe.safetensors")
        (folders / folder / "zero.bin").symlink_to("/dev/zero")
    finder = Finder()
    for catalogue, folder in (
        (finder.adapters, HOST_ADAPTERS),
        (finder.encoders, HOST_ENCODERS),
        (finder.loras, HOST_LORAS),
    ):
        assert not catalogue.survey(listing(folder), lambda done, of: None).found
    sentence_of(lambda: open_adapter("pipe.safetensors"))
    sentence_of(lambda: open_encoder("zero.bin", "auto"))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such things in a folder")
def test_a_pipe_among_kept_prompts_is_not_opened(folders):
    os.mkfifo(folders / "input" / "pipe.safetensors")
    assert prompt_names() == []
    sentence_of(lambda: load_prompt("pipe.safetensors"))


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


WRITES = [(Path, "open"), (os, "fsync"), (os, "makedirs"), (Path, "mkdir"), (Path, "replace")]


@pytest.mark.parametrize(("owner", "name"), WRITES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_full_disk_is_told_with_the_systems_own_reason(owner, name, monkeypatch, folders):
    adapter = host_adapter(adapter_file(small.MICRO, "base"))
    monkeypatch.setattr(owner, name, full)
    for attempt in (
        lambda: save_prompt(image_prompt(), "new/mine"),
        lambda: save_to_output(adapter, "new/mine"),
    ):
        assert os.strerror(errno.ENOSPC) in sentence_of(attempt)
    assert not [path for path in (folders / "output").rglob("*") if path.is_file()]
