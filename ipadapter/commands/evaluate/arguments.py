"""What is asked on the command line."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...encoders.image_tower import AUTO
from ...errors import IPAdapterError
from ...evaluation.measures import MEASURES, Asked, read_measures
from ...evaluation.weights import WeightSource
from ...files.digests import sha256_of
from .drawer import Drawer
from .graph import DrawingRecipe, Template, build_graph, make_template, read_workflow
from .methods import METHODS, ComparedMethod
from .rows import METHOD
from .systems import ALL_METHODS, System, chosen_methods

LOCAL = "http://127.0.0.1:8188"

EVALUATION_HELP = """\
Evaluate image prompts as the paper does: every image of a folder through a running ComfyUI with several seeds, each
picture measured against its image (CLIP-I) and the image's captions (CLIP-T). FOLDER is COCO's layout (val2017/ and
annotations/captions_val2017.json) or plain (images with a .txt of the same name beside, captions.json or captions.csv).
Run the same command again to go on where it stopped. DreamBench++'s layout (images/ and captions/, by category) is read
too, and drawn with its texts.
"""
MEASURES_HELP = "measure by this too; NAME=FILE where it has weights of its own: " + "; ".join(
    f"{measure.name} ({measure.weights or 'no file'})" for measure in MEASURES.values()
)


@dataclass(frozen=True)
class EvaluationRequest:
    """One evaluation."""

    folder: Path
    encoder: Path
    architecture: str
    out: Path
    urls: tuple[str, ...]
    device: str
    seeds: tuple[int, ...]
    limit: int | None
    with_captions: bool
    prefix: str
    pictures: Path | None
    template: Template | None  # None where methods draw
    methods: tuple[ComparedMethod, ...]
    recipe: DrawingRecipe
    measures: Asked

    @property
    def columns(self) -> tuple[str, ...]:
        """Of its table, beside those of every table."""
        return ((METHOD,) if self.methods else ()) + self.measures.keys

    def settings(self, drawer: Drawer, systems: Sequence[System]) -> dict[str, Any]:
        """What all rows of a table must have in common; files are known by their contents, not by their names."""
        graphs = {system.name: system.template for system in systems}
        measured = {measure.name: known_by(source) for measure, source in self.measures.judges}
        return {
            "encoder": {"file": self.encoder.name, "sha256": [sha256_of(self.encoder)]},
            "architecture": self.architecture,
            "caption prefix": self.prefix,
            "captions": "measured" if self.with_captions else "left out",
            **{key: value for name, graph in graphs.items() for key, value in drawn_with(name, graph, drawer).items()},
            "files that can be found": drawer.findable,
            **{f"{name} graph".strip(): digest_of_graph(graph, drawer) for name, graph in graphs.items()},
            **({"measures": sorted(measured)} if measured else {}),
            **{f"measure {name}": value for name, value in measured.items()},
            "the server's options": list(drawer.options),
            "contents of the server's files": "told" if drawer.tells else "not told",
        }


def known_by(source: WeightSource) -> Any:
    """A judge's weights by what they hold, or the word that names them."""
    is_file = source.path is not None and source.path.is_file()
    return {"file": source.name, "sha256": [sha256_of(source.file)]} if is_file else source.text


def drawn_with(system: str, template: Template, drawer: Drawer) -> dict[str, Any]:
    """Numbers, names and files in the graph, so that a difference can be named."""
    return {
        f"{system} {key} ({node['class_type']}) {name}".strip(): file_of(value, drawer) or value
        for key, node in template.prompt.items()
        for name, value in node["inputs"].items()
        if not isinstance(value, (list, dict)) and (key, name) not in template.seeds and key != template.image
    }


def held_by(value: object, drawer: Drawer) -> tuple[str, ...] | None:
    """What the file that a value names holds, or None."""
    return drawer.contents.get(value) if isinstance(value, str) else None


def file_of(value: object, drawer: Drawer) -> dict[str, Any] | None:
    """A value that names a file as the settings keep it, or None."""
    held = held_by(value, drawer)
    return {"file": value, "sha256": list(held)} if held else None


def digest_of_graph(template: Template, drawer: Drawer) -> str:
    """Nodes, links and values of a graph, with the contents of files in the place of their names and without seeds."""
    nodes = {
        key: [node["class_type"], {name: held_by(value, drawer) or value for name, value in node["inputs"].items()}]
        for key, node in template.fill("", 0).items()
    }
    return hashlib.sha256(json.dumps(nodes, sort_keys=True).encode()).hexdigest()[:16]


def evaluation_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m ipadapter.evaluate",
        description=EVALUATION_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("folder", type=Path, help="images and captions")
    made.add_argument("--encoder", type=Path, required=True, help="weights of both towers; the paper: OpenAI ViT-L/14")
    made.add_argument("--architecture", default=AUTO, help="open_clip's name for it (default: found from the file)")
    made.add_argument("--out", type=Path, default=Path("evaluation.csv"), help="rows, .csv or .parquet (%(default)s)")
    made.add_argument(
        "--server",
        "--url",
        dest="urls",
        action="append",
        metavar="URL",
        help=f"a running ComfyUI; several, each with an option of its own, draw at once ({LOCAL})",
    )
    made.add_argument("--device", default="cpu", help="where to measure: cpu, cuda, mps (%(default)s)")
    made.add_argument("--measure", action="append", default=[], metavar="NAME[=FILE]", help=MEASURES_HELP)
    made.add_argument(
        "--methods",
        help=f"draw with what the paper compares itself with, instead of one graph: {ALL_METHODS}, or names of "
        f"{', '.join(method.name for method in METHODS)}, separated by commas; each where the server has its files",
    )
    made.add_argument("--seeds", type=int, default=4, help="pictures for each image (%(default)s)")
    made.add_argument("--first-seed", type=int, default=0, help="the seeds are this one and those after (%(default)s)")
    made.add_argument("--limit", type=int, help="only the first so many images")
    made.add_argument("--without-captions", action="store_true", help="measure CLIP-I alone")
    made.add_argument("--prefix", default="", help="put before every caption, such as 'A photo depicts'")
    made.add_argument("--pictures", type=Path, help="a folder to keep the pictures in")
    made.add_argument("--workflow", type=Path, help="draw with this workflow (exported in the API's format)")
    made.add_argument("--image-node", help="id of the workflow's LoadImage, where it has several")
    made.add_argument("--output-node", help="id of the node that shows the picture, where there are several")
    add_recipe(made.add_argument_group("the built-in graph (defaults: the paper's)"))
    return made


def add_recipe(group: Any) -> None:
    """An option for every setting of the built-in graph."""
    for field in fields(DrawingRecipe):
        kind = type(field.default)
        group.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help=f"({field.default!r})")


def read_evaluation_request(arguments: Sequence[str]) -> EvaluationRequest:
    """Raises IPAdapterError for what does not go together."""
    given = evaluation_parser().parse_args(arguments)
    for name, value, least in (
        ("--seeds", given.seeds, 1),
        ("--limit", given.limit, 1),
        ("--first-seed", given.first_seed, 0),
    ):
        if value is not None and value < least:
            raise IPAdapterError(f"{name} is {value}, where {least} or more is needed.")
    if given.methods and given.workflow:
        raise IPAdapterError("--methods and --workflow both say what to draw with: give one of them.")
    methods = tuple(chosen_methods(given.methods)) if given.methods else ()
    measures = read_measures(given.measure, Path)
    return EvaluationRequest(
        folder=given.folder,
        encoder=given.encoder,
        architecture=given.architecture,
        out=given.out,
        urls=tuple(dict.fromkeys(given.urls or [LOCAL])),
        device=given.device,
        seeds=tuple(range(given.first_seed, given.first_seed + given.seeds)),
        limit=given.limit,
        with_captions=not given.without_captions,
        prefix=given.prefix,
        pictures=given.pictures or (beside(given.out, ".pictures") if methods or measures.sets else None),
        template=None if methods else read_template(given),
        methods=methods,
        recipe=DrawingRecipe(**changed_in(given)),
        measures=measures,
    )


def beside(out: Path, ending: str) -> Path:
    """Something that belongs to a table, next to it."""
    return out.with_name(out.name + ending)


def changed_in(given: argparse.Namespace) -> dict[str, Any]:
    """The settings of the built-in graph that were given."""
    values = ((field.name, getattr(given, field.name)) for field in fields(DrawingRecipe))
    return {name: value for name, value in values if value is not None}


def read_template(given: argparse.Namespace) -> Template:
    """The user's workflow, or the built-in graph with what of it was changed."""
    changed = changed_in(given)
    if given.workflow is None:
        return make_template(build_graph(DrawingRecipe(**changed)), given.image_node, given.output_node)
    if changed:
        option = "--" + next(iter(changed)).replace("_", "-")
        raise IPAdapterError(f"{option} is for the built-in graph: change it in '{given.workflow.name}' instead.")
    return make_template(read_workflow(given.workflow), given.image_node, given.output_node)
