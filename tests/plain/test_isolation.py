"""The engine knows nothing of ComfyUI, nor do the nodes: only `ipadapter.host` does."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import ipadapter
names = [m.name for m in pkgutil.walk_packages(ipadapter.__path__, "ipadapter.") if ".host" not in m.name]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted({name.partition(".")[0] for name in sys.modules})]))
"""
HOST_MODULES = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "nodes", "execution", "server"}
HEAVY = {"open_clip", "timm", "transformers", "diffusers"}


def imported() -> tuple[list[str], set[str]]:
    """Every module of the engine, and what importing them brought in, in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "COMFYUI_PATH")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    names, modules = json.loads(done.stdout)
    return names, set(modules)


def test_no_module_outside_host_imports_comfyui():
    names, modules = imported()
    engine = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "ipadapter").rglob("*.py"))
    files = {".".join(path.parts) for path in engine if path.name != "__init__" and "host" not in path.parts}
    assert set(names) >= files > {"ipadapter.adapters.checkpoint", "ipadapter.attention.decoupled"}
    assert not modules & HOST_MODULES and not {name for name in modules if name.startswith("comfy")}
    assert not modules & HEAVY, "optional libraries are imported where they are used"


def imports_of(source: str) -> set[str]:
    """The packages that a module imports anywhere, those of the pack left out."""
    nodes = [*ast.walk(ast.parse(source))]
    named = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in (*named, *plain)}


def test_nodes_know_comfyui_through_the_host_room_alone():
    assert imports_of("from comfy.sd import VAE\nimport nodes.x\nfrom .comfy import y") == {"comfy", "nodes"}
    for path in (ROOT / "nodes").rglob("*.py"):
        assert not imports_of(path.read_text(encoding="utf-8")) & HOST_MODULES, path
