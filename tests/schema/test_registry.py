"""What the registry asks of a pack, and what it would be sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.schema.texts import ROOT, shipped_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OFFLINE = {"DO_NOT_TRACK": "1", "COMFY_CLI_NO_REMOTE_REFRESH": "1"}
ACCELERATORS = ("NVIDIA CUDA", "AMD ROCm", "Intel Arc", "Apple Metal")
KNOWN_CLASSIFIERS = {"Operating System :: OS Independent", *(f"Environment :: GPU :: {name}" for name in ACCELERATORS)}


@pytest.fixture(scope="module")
def config():
    """pyproject.toml as the host reads it."""
    from comfy_config import config_parser

    return config_parser.extract_node_configuration(str(ROOT))


def comfy(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """comfy-cli's answer, without a network."""
    command = [sys.executable, "-m", "comfy_cli", "--skip-prompt", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **OFFLINE}, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_registrys_own_validation_passes():
    answer = comfy("node", "validate")
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    assert "All validation checks passed" in said
    assert "warning" not in said.lower()


def test_the_name_is_one_the_registry_takes(config):
    name = config.project.name
    assert name == "image-prompt-adapter"
    assert re.fullmatch(r"[a-z][a-z0-9._-]{0,99}", name)
    assert "comfyui" not in name


def test_the_metadata_is_complete(config):
    assert re.fullmatch(r"\d+\.\d+\.\d+", config.project.version)
    assert config.project.description
    assert config.project.urls.repository.startswith("https://")
    assert config.tool_comfy.publisher_id
    assert config.tool_comfy.display_name == "Image Prompt Adapter (IP-Adapter)"


def test_one_bad_classifier_would_void_all():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    assert set(classifiers) == KNOWN_CLASSIFIERS


def test_the_version_has_an_entry_in_the_changelog(config):
    assert f"## [{config.project.version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_both_lists_of_dependencies_are_equal(config):
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert required == list(config.project.dependencies)


def test_torch_is_the_hosts_business(config):
    assert not [name for name in config.project.dependencies if name.startswith("torch")]


def test_the_licence_is_apache():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> set[str]:
    """What comfy-cli packs out of a repository with the files of this checkout."""
    folder = tmp_path_factory.mktemp("pack")
    for name in shipped_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for command in (("git", "init", "--quiet"), ("git", "add", "--all")):
        subprocess.run(command, cwd=folder, check=True)
    answer = comfy("node", "pack", folder=folder)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    with zipfile.ZipFile(folder / "node.zip") as packed:
        return set(packed.namelist())


def test_everything_a_user_needs_is_packed(archive):
    needed = {"__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md"}
    folders = ("ipadapter/", "nodes/", "web/", "locales/", "workflows/")
    expected = needed | {name for name in shipped_files() if name.startswith(folders)}
    assert expected - archive == set()


def test_tests_tools_and_laboratory_are_not_packed(archive):
    assert sorted(name for name in archive if name.startswith(("tests/", "tools/", "lab/"))) == []


def test_how_the_repository_is_kept_is_not_packed(archive):
    kept = {name for name in shipped_files() if name.startswith(".")} | {"Makefile"}
    assert {".comfyignore", ".editorconfig", ".github/PULL_REQUEST_TEMPLATE.md", ".pre-commit-config.yaml"} < kept
    assert sorted(name for name in archive if name.startswith(".") or name in kept) == []
