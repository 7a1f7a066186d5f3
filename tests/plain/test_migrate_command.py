"""`python -m ipadapter.migrate`: files, backups, reports, and sentences for what is no workflow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ipadapter.migrate.__main__ import main
from tests.old_graphs import graph_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workflow(tmp_path) -> Path:
    """A saved workflow with old nodes."""
    path = tmp_path / "old.json"
    path.write_text(json.dumps(graph_of("IPAdapterAdvanced").ui, indent=2), encoding="utf-8")
    return path


def classes(path: Path) -> set[str]:
    graph = json.loads(path.read_text(encoding="utf-8"))
    return {node["type"] for node in graph["nodes"]}


def test_a_file_is_changed_in_place_with_the_old_one_beside_it(workflow, capsys):
    before = workflow.read_bytes()
    assert main([str(workflow)]) == 0
    assert "LegacyIPAdapter" in classes(workflow)
    assert workflow.with_name("old.json.bak").read_bytes() == before
    said = capsys.readouterr().out
    assert "2 node(s) changed" in said and "IPAdapterAdvanced → LegacyIPAdapter" in said


def test_a_backup_is_never_overwritten(workflow):
    kept = workflow.with_name("old.json.bak")
    kept.write_text("mine", encoding="utf-8")
    before = workflow.read_bytes()
    assert main([str(workflow)]) == 0
    assert kept.read_text(encoding="utf-8") == "mine"
    assert workflow.with_name("old.json.bak2").read_bytes() == before


def test_a_file_with_nothing_to_change_is_left_alone(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text('{"nodes": [], "links":[ ] }', encoding="utf-8")
    before = path.stat()
    assert main([str(path)]) == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns and list(tmp_path.iterdir()) == [path]
    assert "nothing to change" in capsys.readouterr().out


def test_a_second_run_changes_nothing(workflow):
    main([str(workflow)])
    once = workflow.read_bytes()
    main([str(workflow)])
    assert workflow.read_bytes() == once
    assert not workflow.with_name("old.json.bak2").exists()


@pytest.mark.parametrize("arguments", [["--output", "new.json"], ["--suffix", "_new"]])
def test_another_file_can_be_written(workflow, arguments, monkeypatch):
    monkeypatch.chdir(workflow.parent)
    before = workflow.read_bytes()
    assert main([str(workflow), *arguments]) == 0
    made = workflow.with_name("new.json" if "--output" in arguments else "old_new.json")
    assert "LegacyIPAdapter" in classes(made)
    assert workflow.read_bytes() == before and len(list(workflow.parent.iterdir())) == 2


def test_another_file_is_not_overwritten(workflow, capsys):
    taken = workflow.with_name("taken.json")
    taken.write_text("mine", encoding="utf-8")
    assert main([str(workflow), "--output", str(taken)]) == 1
    assert taken.read_text(encoding="utf-8") == "mine"
    assert "is there already" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(workflow, capsys):
    before = workflow.read_bytes()
    assert main([str(workflow), "--dry-run"]) == 0
    assert workflow.read_bytes() == before and len(list(workflow.parent.iterdir())) == 1
    assert "not written" in capsys.readouterr().out


def test_the_report_names_every_change(workflow, tmp_path):
    report = tmp_path / "report.json"
    assert main([str(workflow), "--report", str(report)]) == 0
    (file,) = json.loads(report.read_text(encoding="utf-8"))
    assert [change["old"] for change in file["changes"]] == ["IPAdapterModelLoader", "IPAdapterAdvanced"]
    assert file["written"] == str(workflow) and file["backup"] == f"{workflow}.bak"
    assert any("middle_block" in note for change in file["changes"] for note in change["notes"])


@pytest.mark.parametrize("style", [{"indent": 2}, {"indent": 4}, {}, {"separators": (",", ":")}])
def test_the_file_is_written_as_it_was(workflow, style):
    text = json.dumps({"nodes": [], "links": [], "extra": {"words": "größer"}}, ensure_ascii=False, **style)
    graph = json.loads(text) | {"nodes": graph_of("IPAdapterModelLoader").ui["nodes"][:1]}
    workflow.write_text(json.dumps(graph, ensure_ascii=False, **style), encoding="utf-8")
    assert main([str(workflow)]) == 0
    made = workflow.read_text(encoding="utf-8")
    assert made == json.dumps(json.loads(made), ensure_ascii=False, **style)
    assert "größer" in made


def test_a_graph_for_the_api_is_changed_too(tmp_path):
    path = tmp_path / "api.json"
    path.write_text(json.dumps(graph_of("IPAdapterAdvanced").api), encoding="utf-8")
    assert main([str(path)]) == 0
    made = json.loads(path.read_text(encoding="utf-8"))
    assert "LegacyIPAdapter" in {node["class_type"] for node in made.values()}


def picture(path: Path, **texts: str) -> Path:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    return path


def test_a_workflow_in_a_picture_becomes_a_json_beside_it(tmp_path):
    path = picture(tmp_path / "drawn.png", workflow=json.dumps(graph_of("IPAdapter").ui), prompt="{}")
    before = path.read_bytes()
    assert main([str(path)]) == 0
    assert "LegacyIPAdapter" in classes(tmp_path / "drawn.json")
    assert path.read_bytes() == before


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


UNREADABLE = {
    "no file": (lambda folder: folder / "none.json", "there is no file"),
    "a folder": (lambda folder: folder, "is a folder"),
    "empty": (lambda folder: write(folder / "a.json", b""), "no valid JSON"),
    "cut short": (lambda folder: write(folder / "a.json", b'{"nodes": ['), "no valid JSON (line 1)"),
    "too deep": (lambda folder: write(folder / "a.json", b"[" * 200_000), "no valid JSON"),
    "other JSON": (lambda folder: write(folder / "a.json", b'{"name": "x"}'), "no workflow of ComfyUI"),
    "a list": (lambda folder: write(folder / "a.json", b"[1, 2]"), "no workflow of ComfyUI"),
    "binary": (lambda folder: write(folder / "a.json", b"\xff\xfe\x00\x01"), "neither JSON nor a PNG"),
    "a plain picture": (lambda folder: picture(folder / "a.png"), "without a workflow"),
    "half a picture": (lambda folder: write(folder / "a.png", b"\x89PNG\r\n\x1a\nxx"), "damaged PNG"),
    "broken links": (
        lambda folder: write(folder / "a.json", b'{"nodes": [{"type": "IPAdapter", "inputs": [7]}], "links": []}'),
        "not as ComfyUI writes them",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_workflow_is_told_in_one_sentence(case, tmp_path, capsys):
    make, sentence = UNREADABLE[case]
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([str(path)]) == 1
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and said.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_bad_file_does_not_keep_the_others_from_being_changed(workflow, tmp_path):
    assert main([str(tmp_path / "none.json"), str(workflow)]) == 1
    assert "LegacyIPAdapter" in classes(workflow)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a", "b", "--output", "c"], "use --suffix"),
        (["a", "--output", "c", "--suffix", "_d"], "give one of them"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, sentence, capsys):
    assert main(arguments) == 1
    assert sentence in capsys.readouterr().err


def test_it_runs_as_a_module_without_torch(workflow):
    code = "import runpy, sys; sys.argv = ['migrate', sys.argv[1]]\n"
    code += "try:\n    runpy.run_module('ipadapter.migrate', run_name='__main__')\n"
    code += "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(workflow)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
