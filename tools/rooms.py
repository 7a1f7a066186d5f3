"""Counts what docs/architecture.md says of the engine: `python -m tools.rooms`; `--write` renews the page."""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "ipadapter"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- python -m tools.rooms -->\n", "<!-- end -->\n"
LONG = 50  # lines of a function
FAMILY = "FULL_FACE"  # one that nothing is made of, and nothing begins with
MEANT = {"__all__", "main"}  # names that several modules have on purpose


@dataclass(frozen=True)
class Function:
    """A function or method, by where it is."""

    file: str
    name: str
    lines: int


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the engine by its path, in order."""
    for path in sorted(ENGINE.rglob("*.py")):
        yield path.relative_to(ENGINE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def rooms() -> dict[str, int]:
    """Files of each room, those of the packages themselves left out."""
    found = Counter(room_of(file) for file, _ in modules() if not file.endswith("__init__.py"))
    return dict(sorted(found.items()))


def room_of(file: str) -> str:
    """The folder that a module stands in."""
    folder = file.rpartition("/")[0]
    return f"ipadapter/{folder}/" if folder else "ipadapter/"


def functions() -> list[Function]:
    """Every function and method."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        Function(file, node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for file, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]


def repeated_names() -> dict[str, list[str]]:
    """Names that two modules or more define at their top, but those that are meant."""
    where = defaultdict(list)
    for file, tree in modules():
        for name in {name for statement in tree.body for name in names_of(statement)}:
            where[name].append(file)
    return {name: files for name, files in sorted(where.items()) if len(files) > 1 and name not in MEANT | {"_"}}


def names_of(statement: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets += [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def files_that_name(family: str) -> list[str]:
    """Modules that a family is defined, imported or used in."""
    return [file for file, tree in modules() if family in {name for node in ast.walk(tree) for name in names_in(node)}]


def names_in(node: ast.AST) -> list[str]:
    """What a node defines, uses or imports."""
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names]
    return [node.id] if isinstance(node, ast.Name) else []


def table() -> str:
    """The counts, as the page has them."""
    every = sorted(function.lines for function in functions())
    rows = [
        *((f"Files in `{room}`", count) for room, count in rooms().items()),
        ("Functions", len(every)),
        ("Lines of a function, in the middle", every[len(every) // 2]),
        (f"Functions over {LONG} lines", sum(lines > LONG for lines in every)),
        ("Names that two modules define", len(repeated_names())),
        (f"Files that name the family `{FAMILY}`, beside its own", len(files_that_name(FAMILY)) - 1),
    ]
    return "| What | How many |\n|---|---|\n" + "".join(f"| {what} | {count} |\n" for what, count in rows)


def with_table(page: str) -> str:
    """The page with the counts of now."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    print(table(), end="")
    if "--write" in sys.argv:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
