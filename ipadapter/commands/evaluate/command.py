"""`python -m ipadapter.evaluate FOLDER --encoder FILE`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import IPAdapterError, sentence_of
from ...evaluation.distributions import Distances, Inception, distances, set_features
from ...evaluation.measures import Asked
from ...files.replacing import write_whole
from ...host.pictures import from_pil
from ..exit_codes import FAILED, INTERRUPTED
from .arguments import EvaluationRequest, beside, read_evaluation_request
from .crew import Crew, find_crew, merge, open_tables, own_servers, share_of
from .drawer import Drawer, ask_drawers, ask_nodes
from .folder import CaptionedImage, open_image, read_folder
from .graph import ApiGraph
from .pace import Pace
from .rows import ResultRow, ResultTable
from .run import Studio, as_png, picture_name, remaining, run, wanted
from .score import open_scorer, place
from .sheet import draw_comparison
from .summary import THIS_RUN_ALONE, MeasuredWith, Systems, describe_results
from .systems import System, SystemsFound, find_systems, refuse_textless


def run_evaluation(request: EvaluationRequest, crew: Crew) -> str:
    """Do what is left to do, and give the summary of all rows; of several processes the first one's counts."""
    ResultTable(request.out).prepare()
    items = read_folder(request.folder, request.with_captions, request.limit)
    device = crew.device(request.device)
    scorer = open_scorer(request.encoder, request.architecture, device, request.prefix, request.measures)
    sets = open_sets(request.measures, device)
    urls = own_servers(request.urls, crew)
    comparison = refuse_textless(compare(request, urls[0]), any(item.text is not None for item in items))
    drawer = asyncio.run(ask_drawers(urls, every_graph(comparison.systems), tell_reading))
    settings = request.settings(drawer, comparison.systems)
    refuse_unlike_settings(crew.gather([settings]))
    table = open_tables(request.out, request.columns, settings, crew)
    asked = wanted(items, request.seeds, comparison.systems)
    draw_what_is_left(request, crew, Studio(urls, scorer, request.pictures), table, items, comparison)
    merge(table, crew)
    if crew.index:
        return ""
    table.arrange(asked)
    table.close()
    done = table.done
    rows, others = [done[key] for key in asked], len(table.rows) - len(asked)
    far = measure_sets(request, sets, items, comparison.systems)
    measured = MeasuredWith(scorer.clip.encoder.architecture.name, scorer.clip.prefix, scorer.labels)
    text = describe_results(rows, measured, systems_of(request, comparison, far))
    text += "".join(f"\n- {note}" for note in remarks(others, drawer, write_sheet(request, items, comparison)))
    write_whole(beside(request.out, ".md"), f"{text}\n".encode())
    return text


def compare(request: EvaluationRequest, url: str) -> SystemsFound:
    """What draws: the one graph, or those methods that a server has the files of."""
    if request.template is not None:
        return SystemsFound([System("", request.template)], {})
    loaders = {need.loader for method in request.methods for need in method.needs}
    return find_systems(request.methods, request.recipe, asyncio.run(ask_nodes(url, sorted(loaders))))


def every_graph(systems: Sequence[System]) -> ApiGraph:
    """All graphs as one, to ask about the files in them."""
    return {f"{one.name}:{key}": node for one in systems for key, node in one.template.fill("", 0).items()}


def refuse_unlike_settings(settings: Sequence[Mapping[str, Any]]) -> None:
    """Refuse processes whose servers would not draw the same."""
    for other in settings[1:]:
        key = next((key for key in {**settings[0], **other} if settings[0].get(key) != other.get(key)), None)
        if key is not None:
            raise IPAdapterError(f"the servers of two processes would not draw the same: they differ in {key}.")


def draw_what_is_left(
    request: EvaluationRequest,
    crew: Crew,
    studio: Studio,
    table: ResultTable,
    items: Sequence[CaptionedImage],
    comparison: SystemsFound,
) -> None:
    """This process' share of the pictures that have no row yet, with a bar in the first one."""
    everything = remaining(items, request.seeds, comparison.systems, table.done)
    work = share_of(everything, crew)
    if not work:
        return
    done = len(items) * len(request.seeds) * len(comparison.systems) - sum(len(one.seeds) for one in everything)
    left, began = sum(len(one.seeds) for one in work), time.monotonic()
    with progress(done // crew.count, left, crew.index > 0) as bar:
        asyncio.run(run(studio, work, table, lambda row: advance_bar(bar, row)))
    if crew.index == 0:
        print(Pace(left, time.monotonic() - began, crew.count), file=sys.stderr)


def open_sets(asked: Asked, device: str) -> Inception | None:
    """What compares sets of pictures, where that was asked for."""
    for measure, source in asked.sets:
        made = measure.open(source)
        place(made, device)
        return made
    return None


def measure_sets(
    request: EvaluationRequest, inception: Inception | None, items: Sequence[CaptionedImage], systems: Sequence[System]
) -> dict[str, Distances]:
    """FID and KID of each system's kept pictures from the image prompts."""
    if inception is None or request.pictures is None:
        return {}
    prompts = {item.path: None for item in items}
    wanted_features = set_features(inception, (from_pil(open_image(path)) for path in prompts))
    return {
        system.name: distances(
            set_features(inception, kept_pictures(request.pictures, system.name, items, request.seeds)), wanted_features
        )
        for system in systems
    }


def kept_pictures(folder: Path, system: str, items: Sequence[CaptionedImage], seeds: Sequence[int]) -> Iterator[Tensor]:
    """One after the other. Raises IPAdapterError for one that is not there."""
    for path in (folder / picture_name(system, item, seed) for item in items for seed in seeds):
        if not path.is_file():
            raise IPAdapterError(f"'{path}' is not there, which FID needs: draw it anew, or leave FID out.")
        yield from_pil(open_image(path))


def systems_of(request: EvaluationRequest, comparison: SystemsFound, found: Mapping[str, Distances]) -> Systems:
    """What the summary has rows for."""
    return Systems(request.methods or THIS_RUN_ALONE.methods, comparison.left_out, found)


def write_sheet(request: EvaluationRequest, items: Sequence[CaptionedImage], comparison: SystemsFound) -> Path | None:
    """Methods beside each other, where several drew."""
    if not request.methods or request.pictures is None:
        return None
    labels = {method.name: method.label for method in request.methods}
    names = [labels[system.name] for system in comparison.systems]
    sheet = draw_comparison(request.pictures, items, comparison.systems, names, request.seeds[0])
    return write_whole(beside(request.out, ".png"), as_png(sheet))


def tell_reading(name: str) -> None:
    """The server reads a file to know it again, which takes seconds for a large one."""
    print(f"looking at '{name}' …", file=sys.stderr)


def progress(done: int, left: int, hidden: bool) -> Any:
    """A bar over pictures, with the time left."""
    from tqdm import tqdm

    return tqdm(total=done + left, initial=done, unit="picture", dynamic_ncols=True, disable=hidden)


def advance_bar(bar: Any, row: ResultRow) -> None:
    """One picture is done."""
    bar.set_postfix_str(f"CLIP-I {row.clip_i:.3f}" + ("" if row.clip_t is None else f", CLIP-T {row.clip_score:.3f}"))
    bar.update()


def remarks(others: int, drawer: Drawer, sheet: Path | None) -> Iterator[str]:
    """What a reader of this table has to know beside its numbers."""
    if sheet:
        yield f"Methods beside each other: {sheet.name}."
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
        said = run_evaluation(request, find_crew(request.device))
        if said:
            print(said)
    except (IPAdapterError, OSError) as error:
        print(f"\n{sentence_of(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nStopped. Every finished picture has its row: run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    return 0
