"""The pack as the host has loaded it, and the texts around it, in forms that can be compared."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.schema.old_contract import CONTRACT

ROOT = Path(__file__).resolve().parents[2]
CURRENT = (
    "ApplyIPAdapter",
    "ApplyIPAdapterToConditioning",
    "ApplyInstantIDControlNet",
    "CombineImagePrompts",
    "DescribeIPAdapter",
    "DrawFaceKeyPoints",
    "EncodeFacePrompt",
    "EncodeImagePrompt",
    "EvaluateImagePrompt",
    "FaceIDSettings",
    "FindIPAdapter",
    "ImagePromptAttention",
    "ImagePromptCurve",
    "ImagePromptFrames",
    "ImagePromptGrid",
    "ImagePromptLayers",
    "ImagePromptNoise",
    "ImagePromptRegion",
    "JoinImageEncoders",
    "LoadIPAdapter",
    "LoadImagePrompt",
    "LoadInsightFace",
    "LoadOpenCLIPVision",
    "LoadSigLIPVision",
    "PrepareReferenceImage",
    "RecordImagePromptAttention",
    "SaveIPAdapter",
    "SaveImagePrompt",
    "TrainIPAdapter",
)
LEGACY = (  # nodes in the place of another pack's, for graphs of before
    "LegacyIPAdapter",
    "LegacyIPAdapterCombineEmbeds",
    "LegacyIPAdapterCombineParams",
    "LegacyIPAdapterCombineWeights",
    "LegacyIPAdapterEmbeds",
    "LegacyIPAdapterEncoder",
    "LegacyIPAdapterFaceIDLoader",
    "LegacyIPAdapterFirstEncoder",
    "LegacyIPAdapterFromParams",
    "LegacyIPAdapterPromptSchedule",
    "LegacyIPAdapterRegion",
    "LegacyIPAdapterStyleComposition",
    "LegacyIPAdapterTiled",
    "LegacyIPAdapterWeights",
)
NODE_IDS = tuple(sorted((*CURRENT, *LEGACY)))
OLD_IDS = tuple(CONTRACT)  # another pack's, answered where nobody else does
LOCALES = ("en", "zh")
GOLDEN = Path(__file__).with_name("object_info.json")

# Combos that list what is on a machine: files of a folder, or architectures of the installed open_clip.
LISTS_OF_THIS_MACHINE = ("ip_adapter_name", "clip_name", "architecture", "image_prompt_name", "model_name")

Json = dict[str, Any]


def load_pack() -> tuple[bool, dict[str, Any]]:
    """Whether the host's own loader took the pack, and what node classes came of it, but for another pack's ids."""
    import nodes

    base = {*nodes.NODE_CLASS_MAPPINGS, *OLD_IDS}
    taken = asyncio.run(nodes.load_custom_node(str(ROOT), ignore=base))
    return taken, {name: found for name, found in nodes.NODE_CLASS_MAPPINGS.items() if name not in base}


def object_info(classes: dict[str, Any]) -> Json:
    """What the host tells a client about the nodes, without what differs between machines."""
    info = {name: json.loads(json.dumps(found.GET_NODE_INFO_V1())) for name, found in sorted(classes.items())}
    for node in info.values():
        del node["python_module"]
        for name, (kind, options) in inputs_of(node).items():
            if kind == "COMBO" and name in LISTS_OF_THIS_MACHINE:
                options["options"] = [option for option in options["options"] if option == "auto"]
    return info


def inputs_of(node: Json) -> dict[str, list[Any]]:
    """Every input of a node, required ones first: name -> type and options."""
    return {**node["input"].get("required", {}), **node["input"].get("optional", {})}


def english(info: Json) -> Json:
    """The English locale: the texts of the schema itself."""
    return {name: english_node(node) for name, node in info.items()}


def english_node(node: Json) -> Json:
    outputs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": name, "tooltip": options["tooltip"]} for name, (_, options) in inputs_of(node).items()
        },
        "outputs": {str(slot): {"name": name, "tooltip": tooltip} for slot, (name, tooltip) in enumerate(outputs)},
    }


def locale(language: str) -> Json:
    """A locale file as it is committed."""
    found: Json = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    return found


def key_paths(tree: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The path of every leaf of nested dictionaries."""
    if not isinstance(tree, dict):
        return {path}
    return {leaf for key, value in tree.items() for leaf in key_paths(value, (*path, key))}


def help_page(node_id: str, language: str) -> Path:
    """Where the front end looks for a node's help page; English is its fallback for every language."""
    docs = ROOT / "web" / "docs"
    return docs / f"{node_id}.md" if language == "en" else docs / node_id / f"{language}.md"


def sections(markdown: str) -> list[str]:
    """The text below each second-level heading, in order."""
    return re.split(r"^## .*$", markdown, flags=re.MULTILINE)[1:]


def listed(section: str) -> list[str]:
    """The ids that a section's list items begin with: - **`id`**, or - **name** `id` where the node shows a name."""
    return re.findall(r"^- \*\*(?:`|[^*`]+\*\* `)(\w+)`", section, flags=re.MULTILINE)


def names_listed(section: str) -> list[str]:
    """The names that a section's list items begin with, where they have one: - **name** `id`."""
    return re.findall(r"^- \*\*([^*`]+)\*\* `\w+`", section, flags=re.MULTILINE)


def quoted_errors(markdown: str) -> list[str]:
    """Pieces of error sentences that list items or table rows begin with: - `piece`, | `piece`."""
    return re.findall(r"^(?:- |\| )`([^`]+ [^`]+)`", markdown, flags=re.MULTILINE)


def sentences_of_the_source() -> str:
    """Every piece of text in the code, one a line; what is filled in parts one piece from the next."""
    files = [path for folder in ("ipadapter", "nodes") for path in sorted((ROOT / folder).rglob("*.py"))]
    trees = [ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for path in files]
    texts = [node.value for tree in trees for node in tree if isinstance(node, ast.Constant)]
    return "\n".join(text for text in texts if isinstance(text, str))


def shipped_files() -> list[str]:
    """Paths of the files of this checkout that git knows, or would know after `git add`."""
    listing = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted({path for path in found if path and (ROOT / path).is_file()})
