"""`python -m ipadapter.migrate FILE …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import IPAdapterError
from ...legacy.migration.documents import migration_of
from ...legacy.migration.report import Report
from ..exit_codes import FAILED
from .files import STANDARD_STREAM, GraphSource, back_up, read_source, refuse_existing, refuse_unwritable, save
from .style import Style

MIGRATION_HELP = """\
Turn workflows made for ComfyUI_IPAdapter_plus into workflows of this pack, and say what will look different. A FILE is
a workflow as ComfyUI saves it, one exported for the API, both in one file as {workflow, output}, node templates, or a
PNG with a workflow in it. Without --output or --suffix a
file is changed in place, and the old one is kept beside it under the name FILE.bak; from a PNG comes a .json beside it.
The FILE - is standard input, and its graph goes to standard output. A file with nothing to change is left alone, and so
is every node of another pack.
"""
REPORT = Style()


@dataclass(frozen=True)
class MigrationRequest:
    """What is asked on the command line."""

    files: tuple[Path, ...]
    output: Path | None
    suffix: str | None
    report: Path | None
    write: bool


def migration_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m ipadapter.migrate", description=MIGRATION_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("files", type=Path, nargs="+", metavar="FILE", help="workflows")
    made.add_argument("--output", type=Path, help="write here, where there is one FILE")
    made.add_argument("--suffix", help="write beside each FILE, its name with this put behind: --suffix _new")
    made.add_argument("--report", type=Path, help="write what was changed to this JSON file too")
    made.add_argument("--dry-run", action="store_true", help="write no workflow, only say what would be changed")
    return made


def read_migration_request(arguments: Sequence[str]) -> MigrationRequest:
    """Raises IPAdapterError for what does not go together."""
    given = migration_parser().parse_args(arguments)
    if given.output and given.suffix:
        raise IPAdapterError("--output and --suffix both say where to write: give one of them.")
    if given.output and len(given.files) > 1:
        raise IPAdapterError(f"--output is one file, but there are {len(given.files)}: use --suffix.")
    if given.suffix is not None and (not given.suffix or Path(f"a{given.suffix}").name != f"a{given.suffix}"):
        raise IPAdapterError(f"--suffix {given.suffix!r} is no part of a file's name: give one such as _new.")
    if STANDARD_STREAM in given.files and (len(given.files) > 1 or given.suffix):
        raise IPAdapterError("- is standard input, which goes with no other file and no --suffix: give it alone.")
    if given.report:
        refuse_unwritable(given.report)
    return MigrationRequest(tuple(given.files), given.output, given.suffix, given.report, not given.dry_run)


def migrate_file(path: Path, request: MigrationRequest) -> Report:
    """One file: what was changed, or why it could not be."""
    try:
        source = read_source(path)
        graph, report = migrate_source(source)
        is_written = request.write and (report.changes or path == STANDARD_STREAM)
        return write(source, graph, report, request) if is_written else report
    except IPAdapterError as error:
        return Report(str(path), error=str(error))
    except OSError as error:
        return Report(str(path), error=f"'{error.filename or path}' cannot be used: {error.strerror}.")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return Report(str(path), error=f"'{path}' has nodes or links that are not as ComfyUI writes them.")


def migrate_source(source: GraphSource) -> tuple[dict[str, Any], Report]:
    """The graph of a file, changed, and the report of it."""
    migrate = migration_of(source.graph)
    if migrate is None:
        return source.graph, Report(str(source.path))
    graph, changes, warnings = migrate(source.graph)
    return graph, Report(str(source.path), changes, warnings)


def write(source: GraphSource, graph: dict[str, Any], report: Report, request: MigrationRequest) -> Report:
    """Write the new graph; in place only behind a backup."""
    target, content = target_of(source, request), source.style.write(graph)
    if target == STANDARD_STREAM:
        sys.stdout.buffer.write(content)
        return replace(report, written="standard output")
    if target != source.path:
        refuse_existing(target)
        save(target, content)
        return replace(report, written=str(target))
    refuse_unwritable(target)
    backup = back_up(source.path)
    save(target, content)
    return replace(report, written=str(target), backup=str(backup))


def target_of(source: GraphSource, request: MigrationRequest) -> Path:
    """Where the new graph is written."""
    if request.output or source.path == STANDARD_STREAM:
        return request.output or STANDARD_STREAM
    path = source.path.with_suffix(".json") if source.is_picture else source.path
    return path.with_name(f"{path.stem}{request.suffix}{path.suffix}") if request.suffix else path


def main(arguments: Sequence[str]) -> int:
    """The command: its exit code."""
    try:
        request = read_migration_request(arguments)
    except IPAdapterError as error:
        print(error, file=sys.stderr)
        return FAILED
    reports = [migrate_file(path, request) for path in request.files]
    for report in reports:
        said_to = sys.stderr if report.error or STANDARD_STREAM in request.files else sys.stdout
        print("\n".join(report.lines()), file=said_to)
    is_told = not request.report or save_report(request.report, reports)
    return FAILED if not is_told or any(report.error for report in reports) else 0


def save_report(path: Path, reports: Sequence[Report]) -> bool:
    """Write the report; whether that could be done."""
    try:
        save(path, REPORT.write([report.as_dict() for report in reports]))
    except OSError as error:
        print(f"the report '{path}' cannot be written: {error.strerror}.", file=sys.stderr)
        return False
    return True
