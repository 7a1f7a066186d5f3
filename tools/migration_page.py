"""Writes docs/migration.md from the rules of the migration: `python -m tools.migration_page`."""

from __future__ import annotations

from pathlib import Path

from ipadapter.legacy.migration.rules import MIGRATION_RULES, MigrationRule, Note

PAGE = Path(__file__).resolve().parent.parent / "docs" / "migration.md"
HEAD = """\
# Graphs of ComfyUI_IPAdapter_plus

What becomes of each node of ComfyUI_IPAdapter_plus (as of its commit 9d076a3). ComfyUI's node replacement and \
the command use the same rules.

- **In the browser**: where the old pack is not installed, ComfyUI shows the old nodes as missing and offers \
to replace them.
- **Over the API**: a prompt with old nodes is put right when it arrives.
- **Files**: `python -m ipadapter.migrate FILE …` in the pack's folder changes workflows and API prompts, from \
PNGs too. In place with a backup (`FILE.bak`), or to a new file with `--output` or `--suffix`, \
or from standard input to standard output with `-`; \
encoding, line ends, indentation, mode and links stay as they were; `--dry-run` \
only reports, `--report` writes the report as JSON. Nodes of other packs, and files with nothing to change, \
stay as they are.

Nodes that begin with *Legacy* have the old inputs and options and call the same engine as all others. They \
are for old graphs; new ones read better with the new nodes. The group nodes of old front ends and the nodes \
of the old pack's first version are named in the report and left alone.

| Old node | Becomes | Set | Dropped | What differs |
|---|---|---|---|---|
"""
FOOT = "\n## What differs\n\n{}\n\nThis page is written by `python -m tools.migration_page`.\n"


def notes() -> list[Note]:
    """Every note once, numbered by its place. Notes of one text are one."""
    return list({note.text: note for rule in MIGRATION_RULES.values() for note in rule.notes}.values())


def row(rule: MigrationRule, numbers: dict[str, int]) -> str:
    """One old node."""
    renamed = [f"`{old}` → `{new}`" for old, new in rule.renamed.items()]
    fixed = [f"`{name}` = {value}" for name, value in rule.fixed.items()]
    dropped = [f"`{name}`" for name in rule.dropped]
    told = sorted(numbers[note.text] for note in rule.notes)
    cells = (f"`{rule.legacy}`", f"`{rule.new}`", *map(", ".join, (renamed + fixed, dropped, map(str, told))))
    return "| " + " | ".join(cells) + " |"


def make_page() -> str:
    """The whole page."""
    numbers = {note.text: number for number, note in enumerate(notes(), 1)}
    rows = "\n".join(row(MIGRATION_RULES[old], numbers) for old in sorted(MIGRATION_RULES))
    return HEAD + rows + "\n" + FOOT.format("\n".join(f"{number}. {text}" for text, number in numbers.items()))


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
    print(f"wrote docs/{PAGE.name}")
