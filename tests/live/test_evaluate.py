"""Evaluating against a real server: the command, killed and gone on with, and both nodes in a graph."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pack.ipadapter.commands.evaluate import systems
from pack.ipadapter.commands.evaluate.command import main
from pack.ipadapter.commands.evaluate.graph import DrawingRecipe
from pack.ipadapter.commands.evaluate.methods import METHODS, ComparedMethod
from pack.ipadapter.commands.evaluate.rows import METHOD, RESULT_COLUMNS, Key, ResultRow, ResultTable, repair
from pack.ipadapter.server.client import ExecutionFailedError
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.live.files import SMALL_ADAPTER, SMALL_ENCODER, TOWER, write_adapter_for_tower
from tests.live.graph import Graph
from tests.live.leaving import leaving
from tests.live.small_methods import SMALL_METHODS
from tests.live.studio import SIDE, Studio
from tools.environment import LAYOUT

pytestmark = pytest.mark.live

IMAGES = {"red.png": ("red", "a red field\na rose"), "blue.jpg": ("blue", "a blue field")}
PATIENCE = 600.0  # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("images")
    for name, (colour, captions) in IMAGES.items():
        Image.effect_noise((96, 64), 60).convert("RGB").save(made / name)
        Image.blend(Image.open(made / name), Image.new("RGB", (96, 64), colour), 0.6).save(made / name)
        (made / name).with_suffix(".txt").write_text(captions)
    return made


def workflow(studio: Studio, place: Path) -> Path:
    """A light graph, exported."""
    path = place / "flow.json"
    path.write_text(json.dumps(studio.light().nodes))
    return path


def command(studio: Studio, folder: Path, out: Path, *more: str) -> list[str]:
    encoder = studio.server.settings.model_files[f"clip_vision/{SMALL_ENCODER}"]
    base = [str(folder), "--encoder", str(encoder), "--architecture", TOWER, "--out", str(out)]
    return [*base, "--url", studio.server.url, *more]


def rows_at(path: Path) -> list[str]:
    return path.read_text().splitlines()[1:] if path.exists() else []


def kill_after_a_row(python: tuple[str, ...], words: list[str], out: Path) -> None:
    """Let the command make a row, and end it as a lost machine would."""
    whole = [*python, "-m", "ipadapter.evaluate", *words]
    process = subprocess.Popen(whole, cwd=LAYOUT.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not rows_at(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()


def numbers(rows: list[ResultRow]) -> dict[Key, tuple[float, ...]]:
    return {row.key: (row.clip_i, row.clip_t or 0, row.clip_score or 0) for row in rows}


def test_a_killed_run_goes_on_where_it_stopped(
    studio: Studio, python: tuple[str, ...], folder: Path, tmp_path: Path, capsys
) -> None:
    out, pictures = tmp_path / "rows.csv", tmp_path / "pictures"
    flow = str(workflow(studio, tmp_path))
    words = command(studio, folder, out, "--seeds", "2", "--workflow", flow, "--pictures", str(pictures))
    kill_after_a_row(python, words, out)
    before = rows_at(out)
    assert 1 <= len(before) < 4
    with out.open("a") as file:
        file.write("red.png,1,0.")  # half a line
    assert main(words) == 0, capsys.readouterr().err
    assert rows_at(out)[: len(before)] == before
    rows = repair(out)
    assert sorted((row.image, row.seed) for row in rows) == sorted((name, seed) for name in IMAGES for seed in (0, 1))
    assert {row.image: row.captions for row in rows} == {"red.png": 2, "blue.jpg": 1}
    assert len({row.clip_i for row in rows}) == 4 and all(-1 <= row.clip_i <= 1 for row in rows)
    assert sorted(path.name for path in pictures.iterdir()) == sorted(f"{row.image}.{row.seed}.png" for row in rows)
    said = capsys.readouterr().out
    assert "4 picture(s) of 2 image(s)" in said and "IP-Adapter [paper]" in said
    assert (tmp_path / "rows.csv.md").read_text().strip() == said.strip()

    whole = tmp_path / "again.parquet"
    assert main(command(studio, folder, whole, "--seeds", "2", "--workflow", flow)) == 0, capsys.readouterr().err
    table = ResultTable(whole)
    table.open(json.loads(table.settings_file.read_text()))
    assert numbers(table.rows) == numbers(rows)

    assert main([*words, "--prefix", "A photo depicts"]) == 1
    assert "was begun with caption prefix '', now 'A photo depicts'" in capsys.readouterr().err


def test_the_summary_is_of_what_was_asked_for(studio: Studio, folder: Path, tmp_path: Path, capsys) -> None:
    """Fewer images, fewer seeds, or a folder with other pictures under the same names, all into one table."""
    out, flow = tmp_path / "rows.csv", str(workflow(studio, tmp_path))

    def summary(images: Path, *more: str) -> str:
        assert main(command(studio, images, out, "--workflow", flow, *more)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    whole = summary(folder, "--seeds", "2")
    assert "4 picture(s) of 2 image(s)" in whole and "not counted" not in whole
    rows = rows_at(out)
    for more in (("--seeds", "2", "--limit", "1"), ("--seeds", "1")):
        said = summary(folder, *more)
        assert "2 picture(s) of" in said and "2 row(s) of the table are of other images" in said
    assert rows_at(out) == rows and (tmp_path / "rows.csv.md").read_text().strip() == said.strip()
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    Image.effect_noise((96, 64), 200).convert("RGB").save(other / "red.png")
    said = summary(other, "--seeds", "2")
    assert rows_at(out)[:4] == rows and [row.split(",")[0] for row in rows_at(out)[4:]] == ["red.png"] * 2
    assert "4 picture(s) of 2 image(s)" in said and said.splitlines()[2] != whole.splitlines()[2]
    assert (
        summary(Path(shutil.copytree(folder, tmp_path / "moved")), "--seeds", "2").splitlines()[:4]
        == (whole.splitlines()[:4])
    )


def test_an_adapter_that_was_replaced_under_its_name_is_not_taken_for_it(
    studio: Studio, folder: Path, tmp_path: Path, capsys
) -> None:
    """As every training run does; renamed, it is the same."""
    given = studio.server.settings.model_files[f"ipadapter/{SMALL_ADAPTER}"]
    mine = studio.server.output / "ipadapter" / "mine.safetensors"
    mine.parent.mkdir(exist_ok=True)
    shutil.copy(given, mine)
    graph = studio.light().change("LoadIPAdapter", ip_adapter_name=mine.name)
    (tmp_path / "flow.json").write_text(json.dumps(graph.nodes))
    words = ["--workflow", str(tmp_path / "flow.json"), "--seeds", "1", "--limit", "1"]
    out = tmp_path / "rows.csv"
    try:
        assert main(command(studio, folder, out, *words)) == 0, capsys.readouterr().err
        assert main(command(studio, folder, out, *words, "--workflow", str(workflow(studio, tmp_path)))) == 0
        (tmp_path / "flow.json").write_text(json.dumps(graph.nodes))
        write_adapter_for_tower(mine, 2)
        capsys.readouterr()
        assert main(command(studio, folder, out, *words)) == 1
    finally:
        mine.unlink()
    said = capsys.readouterr().err
    assert f"(LoadIPAdapter) ip_adapter_name '{mine.name}' (SHA-256 " in said and "graph" not in said
    assert len(rows_at(out)) == 1
    for name in ("../../etc/passwd", "%00.png", f"{'x' * 300}.png", "..", ""):
        assert studio.json(f"image_prompt_adapter/contents?name={name}") == {"sha256": []}


def test_rows_are_of_what_the_files_hold_now(studio: Studio, folder: Path, tmp_path: Path, capsys) -> None:
    """The host's own loaders keep what they have loaded under a name."""
    tensors = load_file(LAYOUT.models / "loras" / "stand-in_sd15.safetensors")
    mine = studio.server.output / "loras" / "mine.safetensors"
    mine.parent.mkdir(exist_ok=True)
    graph = studio.light()
    model = graph.output("CheckpointLoaderSimple")
    lora = graph.add("LoraLoaderModelOnly", model=model, lora_name=mine.name, strength_model=1.0)
    graph.inputs("ApplyIPAdapter")["model"] = lora
    (tmp_path / "flow.json").write_text(json.dumps(graph.nodes))
    measured = []
    try:
        for number, factor in enumerate((1.0, -20.0, 1.0)):
            save_file({key: tensor * factor for key, tensor in tensors.items()}, mine)
            out = tmp_path / f"{number}.csv"
            words = ["--workflow", str(tmp_path / "flow.json"), "--seeds", "1", "--limit", "1"]
            assert main(command(studio, folder, out, *words)) == 0, capsys.readouterr().err
            measured.append(numbers(repair(out)))
    finally:
        mine.unlink()
    assert measured[0] == measured[2] != measured[1]


def test_the_built_in_graph_runs_and_a_missing_model_is_said(
    studio: Studio, folder: Path, tmp_path: Path, capsys
) -> None:
    small = ("--steps", "1", "--size", str(SIDE), "--seeds", "1", "--limit", "1")
    assert main(command(studio, folder, tmp_path / "rows.csv", *small)) == 0, capsys.readouterr().err
    assert len(rows_at(tmp_path / "rows.csv")) == 1
    assert main(command(studio, folder, tmp_path / "wrong.csv", *small, "--adapter", "none.safetensors")) == 1
    said = capsys.readouterr().err
    assert "ComfyUI could not draw 'blue.jpg'" in said and "'none.safetensors'" in said


@pytest.mark.parametrize("method", [method for method in METHODS if method.build], ids=lambda method: method.name)
def test_every_methods_graph_is_one_the_server_takes(studio: Studio, method: ComparedMethod) -> None:
    """Its nodes, their inputs, and what goes from one to the other."""
    described = studio.ask(lambda client: client.object_info())
    graph = method.build(DrawingRecipe(), {need.what: "a file" for need in method.needs})
    for node in graph.values():
        wanted = described[node["class_type"]]["input"]
        every = {**wanted["required"], **wanted.get("optional", {})}
        assert set(wanted["required"]) <= set(node["inputs"]) <= set(every)
        for name, link in node["inputs"].items():
            if isinstance(link, list):
                assert described[graph[link[0]]["class_type"]]["output"][link[1]] in every[name][0].split(",")


def test_methods_are_drawn_beside_each_other_by_several_servers(
    studio: Studio, folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    """One server under two addresses, of which one goes away, and its work to the other: rows by method, the paper's
    numbers, why one is not drawn, and a sheet."""
    monkeypatch.setattr(systems, "METHODS", SMALL_METHODS)
    out = tmp_path / "rows.csv"
    small = ("--steps", "1", "--size", str(SIDE), "--seeds", "1")
    names = ["unclip", "variations", "t2i-style", "shuffle", "ip-adapter-plus", "redux"]
    chosen = ("--methods", ",".join([*names, "uni-controlnet"]))
    with leaving(studio.server.url, prompts=1) as other:
        assert main(command(studio, folder, out, *small, *chosen, "--server", other)) == 0, capsys.readouterr().err
    told = capsys.readouterr()
    said = told.out
    assert other in told.err and studio.server.url not in told.err
    rows = repair(out, [*RESULT_COLUMNS, METHOD])
    assert [(row.method, row.image) for row in rows] == [(name, image) for name in names for image in sorted(IMAGES)]
    assert len({row.clip_i for row in rows}) == 12
    assert "12 picture(s) of 2 image(s)" in said and "| ControlNet Shuffle              | 361M " in said
    assert "- uni-controlnet is not drawn: ComfyUI has no node" in said
    pictures = sorted(path.relative_to(tmp_path / "rows.csv.pictures").as_posix() for path in tmp_path.rglob("*.0.png"))
    assert pictures == sorted(f"{name}/{image}.0.png" for name in names for image in IMAGES)
    with Image.open(tmp_path / "rows.csv.png") as sheet:
        assert sheet.width > 4 * 64 and sheet.height > 2 * 64
    assert main(command(studio, folder, out, *small, *chosen)) == 0
    assert len(repair(out, [*RESULT_COLUMNS, METHOD])) == 12


def test_two_processes_make_the_rows_of_one(
    studio: Studio, python: tuple[str, ...], folder: Path, tmp_path: Path, capsys
) -> None:
    """Each takes its share, and the table is whole."""
    flow = str(workflow(studio, tmp_path))
    tables = [tmp_path / name for name in ("one.csv", "two.csv")]
    words = [command(studio, folder, table, "--seeds", "2", "--workflow", flow) for table in tables]
    launch = [*python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python"]
    done = subprocess.run(
        [*launch, *python, "-m", "ipadapter.evaluate", *words[1]],
        cwd=LAYOUT.root,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert main(words[0]) == 0, capsys.readouterr().err
    one, two = map(repair, tables)
    assert [row.key for row in two] == [row.key for row in one] and numbers(two) == numbers(one)
    assert capsys.readouterr().out.strip() in done.stdout
    assert not list(tmp_path.glob("*.part*"))


def measured(studio: Studio, graph: Graph, captions: str) -> tuple[Graph, str, str]:
    """A graph that also measures its picture and puts it on a sheet, and the ids of the two nodes."""
    made = graph.copy()
    picture, reference = made.output("VAEDecode"), made.output("LoadImage")
    inputs = {"clip_name": SMALL_ENCODER, "architecture": "auto", "captions": captions, "caption_prefix": ""}
    evaluation, _ = made.add("EvaluateImagePrompt", generated=picture, references=reference, **inputs)
    labels = {"column_labels": "drawn", "row_labels": "photo", "title": "One", "columns": 0, "cell_size": 0}
    sheet, _ = made.add("ImagePromptGrid", images=picture, references=reference, **labels)
    return made, str(evaluation), str(sheet)


def test_both_nodes_show_their_result_in_a_graph(studio: Studio) -> None:
    graph, evaluation, sheet = measured(studio, studio.light(), "a photo of something")
    shown = studio.run(graph).outcome.outputs
    (text,) = shown[evaluation]["text"]
    assert "CLIP-I: " in text and "CLIP-T (2.5 x cosine): " in text and "no interval" in text
    assert len(shown[evaluation]["images"]) == len(shown[sheet]["images"]) == 1


def test_captions_that_do_not_pair_reach_the_person_as_a_sentence(studio: Studio) -> None:
    graph, evaluation, _ = measured(studio, studio.light(), "one\ntwo")
    with pytest.raises(ExecutionFailedError) as failure:
        studio.run(graph)
    assert failure.value.node_id == evaluation
    assert "1 generated picture(s) and 2 caption(s) do not pair" in failure.value.exception_message
