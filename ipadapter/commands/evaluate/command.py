"""`python -m ipadapter.evaluate FOLDER --encoder FILE`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import IPAdapterError, sentence_of
from ...files.replacing import write_whole
from ..exit_codes import FAILED, INTERRUPTED
from .arguments import EvaluationRequest, read_evaluation_request
from .drawer import Drawer, ask_drawer
from .folder import read_folder
from .rows import ResultRow, ResultTable
from .run import Studio, remaining, run, wanted
from .score import Scorer, open_scorer
from .summary import describe_results


def run_evaluation(request: EvaluationRequest, table: ResultTable) -> str:
    """Do what is left to do, and give the summary of all rows."""
    table.prepare()
    items = read_folder(request.folder, request.with_captions, request.limit)
    scorer = open_scorer(request.encoder, request.architecture, request.device, request.prefix)
    drawer = asyncio.run(ask_drawer(request.url, request.template.fill("", 0), tell_reading))
    table.open(request.settings(drawer))
    asked = wanted(items, request.seeds)
    work = remaining(items, request.seeds, table.done)
    if work:
        studio = Studio(request.url, request.template, scorer, request.pictures)
        left = sum(len(one.seeds) for one in work)
        with progress(len(asked) - left, left) as bar:
            asyncio.run(run(studio, work, table, lambda row: advance_bar(bar, row)))
    table.close()
    done = table.done
    return summary_of([done[key] for key in asked], table, scorer, drawer)


def tell_reading(name: str) -> None:
    """The server reads a file to know it again, which takes seconds for a large one."""
    print(f"looking at '{name}' …", file=sys.stderr)


def progress(done: int, left: int) -> Any:
    """A bar over pictures, with the time left."""
    from tqdm import tqdm

    return tqdm(total=done + left, initial=done, unit="picture", dynamic_ncols=True)


def advance_bar(bar: Any, row: ResultRow) -> None:
    """One picture is done."""
    bar.set_postfix_str(f"CLIP-I {row.clip_i:.3f}" + ("" if row.clip_t is None else f", CLIP-T {row.clip_score:.3f}"))
    bar.update()


def summary_of(rows: Sequence[ResultRow], table: ResultTable, scorer: Scorer, drawer: Drawer) -> str:
    """The summary of the rows that were asked for, which is also written beside the table."""
    text = describe_results(rows, scorer.encoder.architecture.name, scorer.prefix)
    text += "".join(f"\n- {note}" for note in remarks(len(table.rows) - len(rows), drawer))
    write_whole(table.path.with_name(table.path.name + ".md"), f"{text}\n".encode())
    return text


def remarks(others: int, drawer: Drawer) -> Iterator[str]:
    """What a reader of this table has to know beside its numbers."""
    if others:
        yield f"{others} row(s) of the table are of other images, captions or seeds, and are not counted."
    if not drawer.tells:
        yield (
            "The server does not have this pack, so it could not be told whether its models are those of earlier rows."
        )


def main(arguments: Sequence[str]) -> int:
    """The command: its exit code."""
    try:
        request = read_evaluation_request(arguments)
        print(run_evaluation(request, ResultTable(request.out)))
    except (IPAdapterError, OSError) as error:
        print(f"\n{sentence_of(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nStopped. Every finished picture has its row: run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    return 0
