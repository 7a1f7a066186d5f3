"""What ComfyUI Manager finds in the repository, which it reads and does not run: exactly the pack's own nodes.

It takes the keys of tables whose names end in `_CLASS_MAPPINGS`, and the classes whose base is written `ComfyNode` (its
scanner 2.0.13). Old ids in it would make this pack a conflict with the one they are from.
"""

from __future__ import annotations

import ast
import re

from tests.schema.texts import NODE_IDS, ROOT, shipped_files

TABLE = re.compile(r"_CLASS_MAPPINGS\s*(?::\s*\w+\s*)?=\s*{([^}]*)}")
ITEM = re.compile(r"""_CLASS_MAPPINGS\[["'](.*?)["']\]""")
KEY = re.compile(r"""["']([^"']*)["']\s*:""")


def seen_in(source: str) -> set[str]:
    """What the scanner takes for nodes in a file."""
    tables = {key for table in TABLE.findall(source) for key in KEY.findall(table)}
    bases = {
        node.name: {ast.unparse(base).rpartition(".")[2] for base in node.bases}
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }
    return tables | set(ITEM.findall(source)) | {name for name, of in bases.items() if "ComfyNode" in of}


TABLES = "NODE_CLASS" + "_MAPPINGS"  # in two words: the scanner would read this file too
SOURCE = f"""
{TABLES} = {{"A": B}}
{TABLES}["C"] = D
class E(io.ComfyNode): ...
class F(HostNode): ...
"""


def test_it_sees_tables_items_and_classes():
    assert seen_in(SOURCE) == {"A", "C", "E"}


def test_it_finds_the_packs_own_nodes_and_no_others():
    files = [file for file in shipped_files() if file.endswith(".py")]
    seen = {name for file in files for name in seen_in((ROOT / file).read_text(encoding="utf-8"))}
    assert sorted(seen) == sorted(NODE_IDS)
