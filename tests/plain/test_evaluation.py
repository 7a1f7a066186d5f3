"""The evaluation's command without a server: folders, captions, rows that survive, and the summary."""

from __future__ import annotations

import asyncio
import codecs
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from pack.ipadapter.commands.evaluate import run as running
from pack.ipadapter.commands.evaluate.arguments import read_evaluation_request
from pack.ipadapter.commands.evaluate.command import main, refuse_unlike_settings
from pack.ipadapter.commands.evaluate.crew import Alone, Crew, merge, open_tables, own_servers, share_of
from pack.ipadapter.commands.evaluate.drawer import Drawer, compared_by, shaping
from pack.ipadapter.commands.evaluate.folder import open_image, read_folder
from pack.ipadapter.commands.evaluate.graph import DrawingRecipe, build_graph, make_template
from pack.ipadapter.commands.evaluate.methods import METHODS
from pack.ipadapter.commands.evaluate.rows import RESULT_COLUMNS, ResultRow, ResultTable
from pack.ipadapter.commands.evaluate.run import Studio, picture_name, remaining, wanted
from pack.ipadapter.commands.evaluate.score import Scorer
from pack.ipadapter.commands.evaluate.shuffle import shuffle_content
from pack.ipadapter.commands.evaluate.summary import TABLE_1, MeasuredWith, Systems, describe_results
from pack.ipadapter.commands.evaluate.systems import System, chosen_methods, find_systems
from pack.ipadapter.encoders.two_towers import open_towers
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.evaluation.distributions import Distances
from pack.ipadapter.evaluation.judges import ClipJudge
from pack.ipadapter.evaluation.metrics import embed_captions, embed_pictures
from pack.ipadapter.files.captions import read_text
from pack.ipadapter.host.pictures import from_pil
from pack.ipadapter.server.client import ServerGoneError
from PIL import Image

from tests.plain.test_metrics import ours_model, saved
from tests.refusals import refusal

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"encoder": "a", "steps": 50}
SYSTEM = System("", make_template(build_graph(DrawingRecipe())))


def image(path: Path, size: tuple[int, int] = (40, 30), colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


# Folders and captions


def test_cocos_layout_is_read_with_all_captions_of_an_image(tmp_path):
    image(tmp_path / "val2017" / "b.jpg")
    image(tmp_path / "val2017" / "a.jpg")
    annotations = [
        {"image_id": 2, "caption": "one "},
        {"image_id": 1, "caption": "x"},
        {"image_id": 2, "caption": "two"},
    ]
    data = {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}], "annotations": annotations}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "captions_val2017.json").write_text(json.dumps(data))
    expected = [("a.jpg", ("x",)), ("b.jpg", ("one", "two"))]
    for folder in (tmp_path, tmp_path / "val2017"):
        assert [(item.name, item.captions) for item in read_folder(folder)] == expected
    assert [item.name for item in read_folder(tmp_path, limit=1)] == ["a.jpg"]


def test_of_several_coco_splits_the_one_with_images_is_read_and_the_papers_first(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split in ("train2017", "val2017", "val2014"):
        data = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": split}]}
        (tmp_path / "annotations" / f"captions_{split}.json").write_text(json.dumps(data))
    image(tmp_path / "train2017" / "a.jpg")
    assert read_folder(tmp_path)[0].captions == ("train2017",)
    image(tmp_path / "val2017" / "a.jpg")
    assert read_folder(tmp_path)[0].captions == ("val2017",)
    assert read_folder(tmp_path / "train2017")[0].captions == ("train2017",)


def test_plain_folders_have_captions_beside_or_in_a_table(tmp_path):
    image(tmp_path / "a.png")
    image(tmp_path / "b.png")
    image(tmp_path / "c.png")
    (tmp_path / "a.txt").write_text("first\n\nsecond\n")
    (tmp_path / "captions.json").write_text('{"b.png": ["third", "fourth"]}')
    (tmp_path / "captions.csv").write_text('file_name,caption\nc.png,"fifth, with a comma"\nc.png,sixth\n')
    assert [item.captions for item in read_folder(tmp_path)] == [
        ("first", "second"),
        ("third", "fourth"),
        ("fifth, with a comma", "sixth"),
    ]


def test_a_text_beside_an_image_may_end_in_capitals(tmp_path):
    image(tmp_path / "a.PNG")
    (tmp_path / "a.TXT").write_text("one\ntwo")
    (item,) = read_folder(tmp_path)
    assert item.captions == ("one", "two")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
def test_a_table_of_captions_has_the_line_ends_of_any_system(end, tmp_path):
    image(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_bytes(end.join(["image,caption", "a.png,one", "a.png,two", ""]).encode())
    assert read_folder(tmp_path)[0].captions == ("one", "two")


def test_what_coco_captions_lack_is_named(tmp_path):
    folder = tmp_path / "val2017"
    image(folder / "a.jpg")
    (tmp_path / "annotations").mkdir()
    table = tmp_path / "annotations" / "captions_val2017.json"
    for text, lacking in (('{"images": []}', "no 'annotations'"), ("[]", "other lists and objects")):
        table.write_text(text)
        assert f"is not COCO's layout of captions (it has {lacking})" in refusal(read_folder, tmp_path)


ENCODINGS = [("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE)]
ENCODINGS += [("utf-16-be", codecs.BOM_UTF16_BE), ("utf-16-le", b""), ("utf-16-be", b"")]


@pytest.mark.parametrize(("encoding", "mark"), ENCODINGS)
def test_captions_in_utf_8_and_utf_16_are_read(encoding, mark, tmp_path):
    (tmp_path / "a.txt").write_bytes(mark + "a café in Kraków".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "a café in Kraków"


def test_another_encoding_is_refused_by_name(tmp_path):
    image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("a café".encode("latin-1"))
    assert "'a.txt' is not text in UTF-8 or UTF-16 (byte 6" in refusal(read_folder, tmp_path)


def test_missing_captions_are_named(tmp_path):
    for index in range(7):
        image(tmp_path / f"{index}.png")
    (tmp_path / "1.txt").write_text("there")
    (tmp_path / "2.txt").write_text("\n \n")
    said = refusal(read_folder, tmp_path)
    assert "6 image(s) have no caption (0.png, 2.png, 3.png, 4.png, 5.png and 1 more)" in said
    assert [item.captions for item in read_folder(tmp_path, with_captions=False)] == [()] * 7


def test_folders_and_images_that_do_not_do_are_refused(tmp_path):
    assert "is not a folder" in refusal(read_folder, tmp_path / "none")
    assert "holds no images" in refusal(read_folder, tmp_path)
    image(tmp_path / "tiny.png", (4, 40))
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    said = refusal(read_folder, tmp_path)
    assert "'broken.jpg' cannot be read as an image" in said and "'tiny.png' is 4x40 pixels" in said


def test_an_image_that_is_cut_short_is_named_when_it_is_read(tmp_path):
    whole = image(tmp_path / "a.png", (400, 300)).read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert "'a.png' is damaged or cut short" in refusal(open_image, tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("captions.json", "[1]", "does not map file names to captions"),
        ("captions.json", "{", "is not JSON"),
        ("captions.csv", "", "has the columns none, where one of"),
        ("metadata.jsonl", '{"text": "a cat"}', "has the columns text, where one of"),
        ("captions.csv", f"image,caption\na.png,{'x' * 200_000}\n", "is not CSV in line 2: field larger"),
        ("captions.csv", "a,b\n", "has the columns a, b, where one of file_name"),
    ],
    ids=lambda text: text[:30],
)
def test_tables_of_captions_that_are_none_are_refused(name, text, said, tmp_path):
    image(tmp_path / "a.png")
    (tmp_path / name).write_text(text)
    sentence = refusal(read_folder, tmp_path)
    assert said in sentence and name in sentence


# Rows


def row(image: str, seed: int, value: float = 0.5) -> ResultRow:
    return ResultRow(image, seed, value, 0.2, 0.5, 5, 1.0, "0123456789abcdef")


def filled(path: Path, count: int) -> ResultTable:
    table = ResultTable(path)
    table.open(SETTINGS)
    for index in range(count):
        table.add(row(f"name, {index // 4}.jpg", index % 4, index / 7))
    return table


def test_rows_are_on_the_disk_as_they_come_and_come_back_exactly(tmp_path):
    table = filled(tmp_path / "rows.csv", 5)
    lines = list(csv.reader((tmp_path / "rows.csv").read_text().splitlines()))
    assert lines[0] == RESULT_COLUMNS and len(lines) == 6
    again = ResultTable(tmp_path / "rows.csv")
    again.open(SETTINGS)
    assert again.rows == table.rows and list(again.done.values()) == table.rows


def test_any_cut_of_the_file_loses_the_last_row_at_most(tmp_path):
    """As a kill, a full disk or a lost machine leaves it."""
    path = tmp_path / "rows.csv"
    rows, whole = filled(path, 3).rows, path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[0], len(whole) + 1):
        path.write_bytes(whole[:cut])
        table = ResultTable(path)
        table.open(SETTINGS)
        kept = sum(end <= cut for end in ends) - 1
        assert table.rows == rows[:kept]
        table.add(row("next.jpg", 0))
        again = ResultTable(path)
        again.open(SETTINGS)
        assert again.rows == [*rows[:kept], row("next.jpg", 0)]


def test_garbage_after_the_last_row_is_removed_and_within_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    rows, whole = filled(path, 2).rows, path.read_bytes()
    path.write_bytes(whole + b"a.jpg,1,0.\x00\x00\n")
    table = ResultTable(path)
    table.open(SETTINGS)
    assert table.rows == rows and path.read_bytes() == whole
    path.write_bytes(whole.replace(b"0.2,0.5", b"0.2,?", 1))
    assert "'rows.csv' is damaged in line 2" in refusal(ResultTable(path).open, SETTINGS)
    path.write_bytes(b"something else\n")
    assert "not a table of an evaluation" in refusal(ResultTable(path).open, SETTINGS)


def test_other_settings_are_refused_by_name_and_value(tmp_path):
    filled(tmp_path / "rows.csv", 1)
    said = refusal(ResultTable(tmp_path / "rows.csv").open, SETTINGS | {"steps": 20})
    assert "'rows.csv' was begun with steps 50, now 20: choose another file" in said
    (tmp_path / "rows.csv.settings.json").unlink()
    assert "'rows.csv.settings.json' that says how it was made is not" in refusal(
        ResultTable(tmp_path / "rows.csv").open, SETTINGS
    )


def test_a_disk_that_takes_no_more_is_said_so(tmp_path):
    table = filled(tmp_path / "rows.csv", 1)
    table.journal = Path("/dev/full")
    assert "'/dev/full' cannot be written: No space left on device" in refusal(table.add, row("b", 0))
    assert len(table.rows) == 1


def test_a_parquet_file_is_written_at_the_end_and_gone_on_with(tmp_path):
    path = tmp_path / "rows.parquet"
    table = filled(path, 3)
    assert not path.exists()
    table.close()
    assert {file.name for file in tmp_path.iterdir()} == {"rows.parquet", "rows.parquet.settings.json"}
    again = ResultTable(path)
    again.open(SETTINGS)
    assert again.rows == table.rows
    again.add(row("more.jpg", 1))
    again.close()
    last = ResultTable(path)
    last.open(SETTINGS)
    assert last.rows == again.rows and len(last.rows) == 4


WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
from ipadapter.commands.evaluate.rows import ResultTable
from ipadapter.errors import IPAdapterError
try:
    ResultTable(Path(sys.argv[1])).prepare()
except IPAdapterError as error:
    print(error)
"""


def test_a_missing_pyarrow_is_said_before_anything_is_made(tmp_path):
    command = [sys.executable, "-c", WITHOUT_PYARROW, str(tmp_path / "rows.parquet")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pip install pyarrow" in done.stdout and not list(tmp_path.iterdir())


def test_what_has_a_row_is_not_made_again(tmp_path):
    for name in ("a.png", "b.png"):
        image(tmp_path / name)
    items = read_folder(tmp_path, with_captions=False)
    systems = [SYSTEM, replace(SYSTEM, name="other")]
    keys = wanted(items, (0, 1), systems)
    left = remaining(items, (0, 1), systems, {*keys} - {keys[2], keys[4]})
    assert [(work.system.name, work.item.name, work.seeds) for work in left] == [
        ("", "b.png", (0,)),
        ("other", "a.png", (0,)),
    ]


@pytest.mark.parametrize("servers", [["quick", "dies late"], ["dies late"]])
def test_what_a_server_leaves_when_the_others_have_ended_is_theirs(servers, monkeypatch):
    drawn, lost = [], []

    async def serve(url, studio, waiting, table, told):
        while waiting:
            one = waiting.popleft()
            if url == "dies late":
                await asyncio.sleep(0.05)  # until the other has ended
                waiting.append(one)
                lost.append(one)
                return ServerGoneError("'dies late' is gone")
            drawn.append(one)
            await asyncio.sleep(0)
        return None

    monkeypatch.setattr(running, "serve", serve)
    drawing = running.run(Studio(servers, None, None), ["a", "b", "c"], None, print)
    if servers == ["dies late"]:
        with pytest.raises(IPAdapterError, match="'dies late' is gone: start it, and run the same command again"):
            asyncio.run(drawing)
        return
    asyncio.run(drawing)
    assert len(lost) == 1 and sorted(drawn) == ["a", "b", "c"]


def test_an_image_prompt_is_known_by_its_picture_and_captions(tmp_path):
    """A folder that was moved is the same; one with other pictures or captions under the names is not."""
    first, moved, other, said = (captioned(tmp_path / name) for name in ("first", "moved", "other", "said"))
    image(other / "a.png", colour="blue")
    (said / "a.txt").write_text("a red field\na cat\nnothing\n")
    before, *after = (read_folder(folder)[0].content for folder in (first, moved, other, said))
    assert after[0] == before and len({before, *after[1:]}) == 3
    alone = [read_folder(folder, with_captions=False)[0].content for folder in (first, said)]
    assert alone[0] == alone[1] != before


# Graphs and arguments


def test_the_built_in_graph_has_the_papers_settings():
    graph = build_graph(DrawingRecipe())
    sampler = graph["sample"]["inputs"]
    assert (sampler["steps"], sampler["cfg"], sampler["sampler_name"]) == (50, 7.5, "ddim")
    assert graph["apply"]["inputs"]["weight"] == 1.0
    assert graph["positive"]["inputs"]["text"] == graph["negative"]["inputs"]["text"] == ""
    assert graph["latent"]["inputs"]["width"] == graph["latent"]["inputs"]["height"] == 512


def test_an_image_and_a_seed_go_into_a_workflow(tmp_path):
    template = make_template(build_graph(DrawingRecipe()))
    filled = template.fill("x.png", 7)
    assert filled["image"]["inputs"]["image"] == "x.png" and filled["sample"]["inputs"]["seed"] == 7
    assert template.prompt["image"]["inputs"]["image"] == ""


def workflow_refusal(tmp_path: Path, data: object, *more: str) -> str:
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(data))
    return refusal(read_evaluation_request, [str(tmp_path), "--encoder", "e", "--workflow", str(path), *more])


def test_workflows_that_do_not_do_are_refused(tmp_path):
    graph = build_graph(DrawingRecipe())
    assert "is a saved workflow" in workflow_refusal(tmp_path, {"nodes": [], "links": []})
    assert "not a workflow in the API's format" in workflow_refusal(tmp_path, {"a": 1})
    two = graph | {"more": graph["image"]}
    assert "2 nodes of kind LoadImage (ids image, more)" in workflow_refusal(tmp_path, two)
    assert "no node 9" in workflow_refusal(tmp_path, graph, "--output-node", "9")
    linked = graph | {"sample": graph["sample"] | {"inputs": graph["sample"]["inputs"] | {"seed": ["1", 0]}}}
    assert "no seed to set" in workflow_refusal(tmp_path, linked)
    assert "--steps is for the built-in graph" in workflow_refusal(tmp_path, graph, "--steps", "3")


def test_numbers_that_make_no_sense_are_refused(tmp_path):
    for option in ("--seeds", "--limit"):
        assert f"{option} is 0, where 1 or more is needed" in refusal(
            read_evaluation_request, [str(tmp_path), "--encoder", "e", option, "0"]
        )


def test_settings_name_what_a_table_was_made_with(tmp_path):
    one, two = (settings(tmp_path, DRAWER, "--weight", weight) for weight in ("1", "0.5"))
    assert differing(one, two) == {"apply (ApplyIPAdapter) weight", "graph"}
    (tmp_path / "e").write_bytes(b"another")
    assert differing(one, settings(tmp_path, DRAWER, "--weight", "1")) == {"encoder"}


DRAWER = Drawer({"ip-adapter_sd15.safetensors": ("ab" * 32,)}, None, (), tells=True)


def settings(folder: Path, drawer: Drawer, *more: str) -> dict[str, Any]:
    encoder = folder / "e"
    encoder.touch()
    request = read_evaluation_request([str(folder), "--encoder", str(encoder), *more])
    assert request.template is not None
    return request.settings(drawer, [System("", request.template)])


def differing(one: dict[str, Any], two: dict[str, Any]) -> set[str]:
    return {key for key in one if compared_by(one[key]) != compared_by(two[key])}


def test_a_file_is_known_by_what_it_holds_and_not_by_its_name(tmp_path):
    before = settings(tmp_path, DRAWER)
    replaced = Drawer({"ip-adapter_sd15.safetensors": ("cd" * 32,)}, None, (), tells=True)
    assert differing(before, settings(tmp_path, replaced)) == {"adapter (LoadIPAdapter) ip_adapter_name", "graph"}
    renamed = Drawer({"mine.safetensors": ("ab" * 32,)}, None, (), tells=True)
    assert not differing(before, settings(tmp_path, renamed, "--adapter", "mine.safetensors"))


def test_every_setting_that_differs_is_named(tmp_path):
    table = ResultTable(tmp_path / "rows.csv")
    table.open(settings(tmp_path, DRAWER))
    other = Drawer({"ip-adapter_sd15.safetensors": ("cd" * 32,)}, None, ("--force-fp16",), tells=True)
    said = refusal(ResultTable(tmp_path / "rows.csv").open, settings(tmp_path, other, "--steps", "3"))
    assert "ip_adapter_name 'ip-adapter_sd15.safetensors' (SHA-256 abababababab), now" in said
    assert "sample (KSampler) steps 50, now 3" in said and "the server's options [], now ['--force-fp16']" in said


def test_of_a_servers_options_those_that_shape_numbers_count():
    given = ["main.py", "--port", "8189", "--fast", "fp16_accumulation", "autotune", "--listen", "--fp32-vae", "--cpu"]
    assert shaping(given) == ("--cpu", "--fast fp16_accumulation autotune", "--fp32-vae")


# Scores, summary, the command


def test_scores_are_means_over_all_captions(tmp_path):
    encoder = open_towers(saved(tmp_path / "clip.safetensors", ours_model().state_dict()), "clip.safetensors")
    (item,) = read_folder(captioned(tmp_path / "images"))
    picture = Image.effect_noise((50, 40), 80).convert("RGB")
    made = Scorer(ClipJudge(encoder)).against(item)(picture)
    image_vector = embed_pictures(encoder, [from_pil(picture)])
    reference = embed_pictures(encoder, [from_pil(open_image(item.path))])
    cosines = image_vector @ embed_captions(encoder, item.captions).T
    assert made["clip_i"] == pytest.approx((image_vector @ reference.T).item(), abs=1e-6)
    assert made["clip_t"] == pytest.approx(cosines.mean().item(), abs=1e-6)
    assert made["clip_score"] == pytest.approx(2.5 * cosines.clamp(min=0).mean().item(), abs=1e-6)


def captioned(folder: Path) -> Path:
    image(folder / "a.png")
    (folder / "a.txt").write_text("a red field\na dog\nnothing\n")
    return folder


def test_the_summary_stands_beside_the_papers_table():
    rows = [ResultRow(f"{n // 4}.jpg", n % 4, 0.8 + n / 100, 0.23, 0.575, 5, 1.0, "0" * 16) for n in range(8)]
    text = describe_results(rows, MeasuredWith("ViT-L-14-quickgelu"))
    assert "8 picture(s) of 2 image(s)" in text and "95 % interval" in text
    assert "0.575" in text and "score high on CLIP metrics" in text and "not comparable" not in text
    assert all(f"{one.clip_t:.3f}" in text and f"{one.clip_i:.3f}" in text for one in TABLE_1)
    assert "not comparable with Table 1" in describe_results(rows, MeasuredWith("ViT-B-32"))
    without = describe_results([ResultRow("a", 0, 0.8, None, None, 0, 1.0, "0" * 16)], MeasuredWith("ViT-B-32"))
    assert "| this run" in without and "no interval" in without


def test_methods_stand_in_rows_beside_the_papers_numbers():
    """A row each, those that were not drawn too, and why."""
    rows = [
        ResultRow(f"{n // 2}.jpg", n % 2, value + n / 100, 0.2, 0.5, 5, 1.0, "0" * 16, name, {"csd": 0.3, "lpips": 0.7})
        for name, value in (("ip-adapter", 0.8), ("shuffle", 0.6))
        for n in range(4)
    ]
    systems = Systems(chosen_methods("shuffle,ip-adapter,uni-controlnet"), {"uni-controlnet": "no node"}, {})
    text = describe_results(rows, MeasuredWith("ViT-L-14-quickgelu", "", ["CLIP", "CSD (a file)"]), systems)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    heads = ["method", "trainable", "CLIP-T", "CLIP-I", "CSD", "LPIPS ↓", "CLIP-T [paper]", "CLIP-I [paper]"]
    assert lines[0] == heads and [line[0] for line in lines[2:]] == [
        "ControlNet Shuffle",
        "IP-Adapter",
        "Uni-ControlNet (Global Control)",
    ]
    assert (
        lines[2][3].startswith("0.615 (")
        and lines[3][3].startswith("0.815 (")
        and lines[3][4] == "0.300 (0.300 … 0.300)"
    )
    assert lines[2][-2:] == ["0.421", "0.616"] and lines[4] == [lines[4][0], "47M", *"----", "0.506", "0.736"]
    assert "- uni-controlnet is not drawn: no node." in text and "Measured too with CSD (a file)." in text
    assert "this run has 2 image(s) with 2 each" in text
    far = Systems(chosen_methods("shuffle"), {}, {"shuffle": Distances(12.345, 0.01, 4, 2)})
    assert "FID ↓" in describe_results(rows[4:], MeasuredWith("a"), far) and "12.35" in describe_results(
        rows[4:], MeasuredWith("a"), far
    )


def benchmark(folder: Path) -> Path:
    """DreamBench++'s layout."""
    for place, texts in (
        ("live_subject/animal/00", "a cat\na cat in snow\na cat, oil\n"),
        ("style/03", "ink\na town\n"),
    ):
        image(folder / "images" / f"{place}.jpg", colour="red")
        text = folder / "captions" / f"{place}.txt"
        text.parent.mkdir(parents=True)
        text.write_text(texts)
    return folder


def test_a_benchmarks_texts_are_drawn_and_its_categories_have_rows(tmp_path):
    items = read_folder(benchmark(tmp_path))
    assert [(item.name, item.text, item.captions) for item in items] == [
        ("live_subject/animal/00.jpg", "a cat in snow", ("a cat in snow",)),
        ("live_subject/animal/00.jpg", "a cat, oil", ("a cat, oil",)),
        ("style/03.jpg", "a town", ("a town",)),
    ]
    assert len({picture_name("m", item, 0) for item in items}) == 3 and len(wanted(items, (0,), [SYSTEM])) == 3
    filled = SYSTEM.template.fill("x", 0, items[0].text)
    assert filled["positive"]["inputs"]["text"] == "a cat in snow" and filled["negative"]["inputs"]["text"] == ""
    assert [item.text for item in read_folder(tmp_path, limit=1)] == ["a cat in snow", "a cat, oil"]
    rows = [ResultRow(item.name, 0, 0.5, 0.2, 0.5, 1, 1.0, item.content) for item in items]
    text = describe_results(rows, MeasuredWith("a"))
    assert "| live_subject/animal | this run | 2 " in text and "| style               | this run | 1 " in text
    assert "3 picture(s) of 2 image(s)" in text
    (tmp_path / "captions" / "style" / "03.txt").write_text("ink\n")
    assert "'style/03.jpg' has no text to draw with: 'captions/style/03.txt' needs" in refusal(read_folder, tmp_path)


def test_other_judges_have_columns_of_their_own_that_come_back(tmp_path):
    made = ResultRow("a.png", 0, 0.5, None, None, 0, 1.0, "0" * 16, "shuffle", {"csd": 0.25, "lpips": 0.125})
    for name in ("rows.csv", "rows.parquet"):
        table = ResultTable(tmp_path / name, ("method", "csd", "lpips"))
        table.open(SETTINGS)
        table.add(made)
        table.close()
        again = ResultTable(tmp_path / name, ("method", "csd", "lpips"))
        again.open(SETTINGS)
        assert again.rows == [made]
    assert (tmp_path / "rows.csv").read_text().splitlines()[0] == ",".join([*RESULT_COLUMNS, "method", "csd", "lpips"])


# Methods


def listed(**files: list[str]) -> dict[str, Any]:
    """How a server describes loaders, by what they list; half of them in the newer form."""
    inputs = {need.loader: need.input for method in METHODS for need in method.needs}
    made = {}
    for loader, names in files.items():
        more = {"clip_name1": [names], "clip_name2": [names]} if loader == "DualCLIPLoader" else {}
        made[loader] = {"input": {"required": {inputs[loader]: ["COMBO", {"options": names}], **more}}}
    return made


def test_a_method_draws_where_the_server_has_its_files_and_says_what_it_lacks():
    described = listed(
        CheckpointLoaderSimple=["sd_xl.safetensors", "v1-5-pruned-emaonly-fp16.safetensors"],
        LoadIPAdapter=["sub/ip-adapter_sd15.safetensors", "ip-adapter_sd15.safetensors", "ip-adapter_sdxl.safetensors"],
        CLIPVisionLoader=["CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"],
        StyleModelLoader=["t2iadapter_style_sd14v1.pth"],
    )
    found = find_systems(chosen_methods("all"), DrawingRecipe(steps=3), described)
    assert [system.name for system in found.systems] == ["ip-adapter"]
    graph = found.systems[0].template.prompt
    assert graph["adapter"]["inputs"]["ip_adapter_name"] == "ip-adapter_sd15.safetensors"
    assert graph["sample"]["inputs"]["steps"] == 3
    assert "no file for CLIPVisionLoader whose name has vit-large-patch14." in found.left_out["t2i-style"]
    assert "Karlo" in found.left_out["open-unclip"] and set(found.left_out) == {m.name for m in METHODS} - {
        "ip-adapter"
    }
    assert "can draw none of the methods (shuffle: " in refusal(
        find_systems, chosen_methods("shuffle"), DrawingRecipe(), described
    )
    assert "--methods has no 'dreambooth': choose all, or of unclip" in refusal(chosen_methods, "dreambooth")


def test_every_row_of_the_papers_table_is_a_method():
    assert {method.paper for method in METHODS} - {""} == {row.name for row in TABLE_1}
    assert all(bool(method.build) != bool(method.cannot) for method in METHODS)


def test_shuffled_content_has_the_same_colours_at_other_places():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (192, 1))
    picture = Image.fromarray(np.stack([ramp, ramp.T[:192, :192].mean() + 0 * ramp, 255 - ramp], -1).astype(np.uint8))
    made, again = shuffle_content(picture), shuffle_content(picture)
    pixels, before = (np.asarray(one).astype(int) for one in (made, picture))
    assert made.size == picture.size and np.array_equal(pixels, np.asarray(again))
    assert np.abs(pixels[..., 0] + pixels[..., 2] - 255).max() <= 1  # colours go together
    assert np.abs(pixels - before).mean() > 20 and np.abs(np.diff(pixels[..., 0], axis=1)).max() < 16  # smoothly
    assert pixels[..., 0].min() < 8 and pixels[..., 0].max() > 247


# Several servers and processes


class Two:
    """One of two processes, which hand each other what they have when both have come."""

    def __init__(self, index: int, barrier: Barrier, desk: dict[int, list[Any]]) -> None:
        self.index, self.count, self.barrier, self.desk = index, 2, barrier, desk

    def gather(self, own: Sequence[Any]) -> list[Any]:
        self.barrier.wait(10)
        self.desk[self.index] = list(own)
        self.barrier.wait(10)
        return [*self.desk[0], *self.desk[1]]

    def device(self, asked: str) -> str:
        return asked


def work_of(path: Path, keys: list[ResultRow], crew: Crew, stop_after: int | None = None) -> list[ResultRow]:
    """What a process does with a table: its share of the rows that nobody has made, and all rows at the end."""
    table = open_tables(path, (), SETTINGS, crew)
    left = [one for one in keys if one.key not in table.done]
    for one in share_of(left, crew)[:stop_after]:
        table.add(one)
    if stop_after is None:
        merge(table, crew)
        if crew.index == 0:
            table.arrange([one.key for one in keys])
    return table.rows


def by_two(path: Path, keys: list[ResultRow], stop_after: int | None = None) -> tuple[list[ResultRow], list[ResultRow]]:
    barrier, desk = Barrier(2), dict[int, list[Any]]()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(work_of, path, keys, Two(index, barrier, desk), stop_after) for index in (0, 1)]
        return jobs[0].result(), jobs[1].result()


def test_the_rows_are_the_same_whatever_the_number_of_processes(tmp_path):
    """Begun by two that were killed, gone on with by one and by two."""
    rows = [row(f"{n // 2}.jpg", n % 2, n / 7) for n in range(9)]
    assert work_of(tmp_path / "one.csv", rows, Alone()) == rows
    first, second = by_two(tmp_path / "two.csv", rows, stop_after=2)
    assert len(first) == len(second) == 2 and (tmp_path / "two.csv.part1.csv").exists()
    made, _ = by_two(tmp_path / "two.csv", rows)
    assert made == rows
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.csv{ending}" for name in ("one", "two") for ending in ("", ".settings.json")
    }
    by_two(tmp_path / "three.csv", rows, stop_after=3)
    assert work_of(tmp_path / "three.csv", rows, Alone()) == rows
    assert (
        (tmp_path / "three.csv").read_bytes()
        == (tmp_path / "one.csv").read_bytes()
        == (tmp_path / "two.csv").read_bytes()
    )


def test_what_another_run_left_in_a_part_is_not_mixed_in(tmp_path):
    by_two(tmp_path / "rows.csv", [row("a", 0), row("b", 0)], stop_after=1)
    (tmp_path / "rows.csv").unlink()
    said = refusal(open_tables, tmp_path / "rows.csv", (), SETTINGS | {"steps": 20}, Alone())
    assert "'rows.csv.part1.csv' was begun with steps 50, now 20" in said


def test_servers_are_dealt_to_processes():
    two = [Two(index, Barrier(2), {}) for index in (0, 1)]
    assert [own_servers(["a", "b", "c"], crew) for crew in two] == [["a", "c"], ["b"]]
    assert [own_servers(["a"], crew) for crew in two] == [["a"], ["a"]]


def test_servers_that_would_draw_otherwise_are_refused():
    other = Drawer({"ip-adapter_sd15.safetensors": ("cd" * 32,)}, None, (), tells=True)
    assert DRAWER.differs_from(other) == "'ip-adapter_sd15.safetensors' is not the same file"
    assert DRAWER.differs_from(replace(DRAWER, options=("--fast",))) == "their options or packs are not the same"
    assert DRAWER.differs_from(DRAWER) is None
    assert "they differ in steps" in refusal(refuse_unlike_settings, [SETTINGS, SETTINGS | {"steps": 3}])


def test_what_does_not_go_together_on_the_command_line_is_refused(tmp_path):
    words = [str(tmp_path), "--encoder", "e"]
    assert "--methods and --workflow both say" in refusal(
        read_evaluation_request, [*words, "--methods", "all", "--workflow", "a.json"]
    )
    assert "there is no measure 'ssim'" in refusal(read_evaluation_request, [*words, "--measure", "ssim"])
    request = read_evaluation_request([*words, "--server", "http://a", "--server", "http://b", "--methods", "shuffle"])
    assert request.urls == ("http://a", "http://b") and request.pictures == Path("evaluation.csv.pictures")
    assert read_evaluation_request([*words, "--measure", "csd=c.pth", "--measure", "lpips"]).columns == ("csd", "lpips")


def test_without_a_server_the_command_says_so_in_a_sentence(tmp_path, capsys):
    encoder = saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    out = tmp_path / "rows.csv"
    url = "http://127.0.0.1:9"
    code = main([str(captioned(tmp_path / "images")), "--encoder", str(encoder), "--out", str(out), "--url", url])
    assert code == 1
    assert f"no ComfyUI answers at {url}" in capsys.readouterr().err
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys):
    encoder = saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "rows.csv"
    assert main([str(captioned(tmp_path / "images")), "--encoder", str(encoder), "--out", str(out)]) == 1
    assert f"'{tmp_path / 'file'}' cannot be used: " in capsys.readouterr().err


def test_an_address_that_is_none_is_said_so(tmp_path, capsys):
    encoder = saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    words = [str(captioned(tmp_path / "images")), "--encoder", str(encoder), "--out", str(tmp_path / "rows.csv")]
    assert main([*words, "--url", "localhost:8188"]) == 1
    assert "no ComfyUI answers at localhost:8188" in capsys.readouterr().err


def test_a_missing_encoder_and_an_absent_device_are_refused(tmp_path, capsys):
    folder = str(captioned(tmp_path / "images"))
    assert main([folder, "--encoder", str(tmp_path / "none.pt")]) == 1
    assert "none.pt' is not there" in capsys.readouterr().err
    encoder = saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    assert main([folder, "--encoder", str(encoder), "--device", "gpu"]) == 1
    assert "--device gpu cannot be used" in capsys.readouterr().err


def test_help_is_given(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ipadapter.evaluate", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--encoder" in done.stdout and "captions_val2017.json" in done.stdout
