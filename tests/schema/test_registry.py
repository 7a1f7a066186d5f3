"""What the registry asks of a pack, and what it would be sent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.schema.texts import ROOT, shipped_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORBIDDEN = re.compile(
    r"\.cuda\s*\(|\.to\s*\(\s*(torch\.device\s*\(\s*)?[\"']cuda|torch\.(cuda\.amp|amp)?\.?autocast"
    r"|(?<![\w.])(torch\.)?nn\.(Linear|Conv(Transpose)?[123]d|LayerNorm|GroupNorm|Embedding)\s*\("
)
OFFLINE = {"DO_NOT_TRACK": "1", "COMFY_CLI_NO_REMOTE_REFRESH": "1"}
ACCELERATORS = ("NVIDIA CUDA", "AMD ROCm", "Intel Arc", "Apple Metal")
KNOWN_CLASSIFIERS = {"Operating System :: OS Independent", *(f"Environment :: GPU :: {name}" for name in ACCELERATORS)}


@pytest.fixture(scope="module")
def config():
    """pyproject.toml as the host reads it."""
    from comfy_config import config_parser

    return config_parser.extract_node_configuration(str(ROOT))


def read_pyproject() -> dict[str, Any]:
    """All of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


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


@pytest.mark.parametrize(("name", "size"), [("icon", (400, 400)), ("banner", (1260, 540))])
def test_the_registry_finds_pictures_of_its_sizes(config, name, size):
    address = read_pyproject()["tool"]["comfy"][name.title()]  # the host's reader knows no banner
    raw = config.project.urls.repository.replace("https://github.com", "https://raw.githubusercontent.com")
    assert address == f"{raw}/main/docs/images/{name}.png"
    with Image.open(ROOT / "docs" / "images" / f"{name}.png") as picture:
        assert picture.size == size


def test_no_code_is_bound_to_a_device_or_past_the_hosts_layers():
    """What comfy-test 0.4 forbids in a pack."""
    files = [name for name in shipped_files() if re.match(r"(ipadapter/|nodes/|__init__).*\.py$", name)]
    assert len(files) > 100
    assert [name for name in files if FORBIDDEN.search((ROOT / name).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "code", ["x.cuda()", "x.to('cuda:0')", "torch.autocast(", "nn.Linear(3, 4)", "torch.nn.Conv2d("]
)
def test_what_is_forbidden_is_known(code):
    assert FORBIDDEN.search(code) and not FORBIDDEN.search("operations.Linear(3, 4); x.to(device); mynn.Linear(3)")


def test_one_bad_classifier_would_void_all():
    classifiers = read_pyproject()["project"]["classifiers"]
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
def checkout(tmp_path_factory) -> Path:
    """The files of this checkout."""
    folder = tmp_path_factory.mktemp("pack")
    for name in shipped_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def release(checkout) -> tuple[subprocess.CompletedProcess[str], Path]:
    """What `make release` says in a checkout, and the checkout after it."""
    owner = ("--publisher", "somebody", "--repository", "https://github.com/some/where")
    command = [sys.executable, "-m", "tools.release", *owner]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300, check=False), checkout


@pytest.fixture(scope="module")
def archive(release) -> set[str]:
    """What comfy-cli packs out of a repository with the files of this checkout."""
    _, folder = release
    for command in (("git", "init", "--quiet"), ("git", "add", "--all")):
        subprocess.run(command, cwd=folder, check=True)
    answer = comfy("node", "pack", folder=folder)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    with zipfile.ZipFile(folder / "node.zip") as packed:
        return set(packed.namelist())


def test_a_release_is_named_what_it_lacks(release):
    answer, folder = release
    assert 'PublisherId = "somebody"' in (folder / "pyproject.toml").read_text(encoding="utf-8")
    assert "comfy node validate" not in answer.stderr
    assert "git tag v" in answer.stdout and '"reference": "https://github.com/some/where"' in answer.stdout


def test_everything_a_user_needs_is_packed(archive):
    needed = {"__init__.py", "pyproject.toml", "requirements.txt", "LICENSE", "README.md"}
    folders = ("ipadapter/", "nodes/", "web/", "locales/", "subgraphs/", "workflows/")
    expected = needed | {name for name in shipped_files() if name.startswith(folders)}
    assert expected - archive == set()


def test_tests_tools_and_laboratory_are_not_packed(archive):
    assert sorted(name for name in archive if name.startswith(("tests/", "tools/", "lab/"))) == []


def test_how_the_repository_is_kept_is_not_packed(archive):
    kept = {name for name in shipped_files() if name.startswith(".")} | {"Makefile"}
    assert {".comfyignore", ".editorconfig", ".github/PULL_REQUEST_TEMPLATE.md", ".pre-commit-config.yaml"} < kept
    assert sorted(name for name in archive if name.startswith(".") or name in kept) == []
