"""`python -m ipadapter.migrate`: files, backups, reports, and sentences for what is no workflow."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pack.ipadapter.commands.migrate.command import main
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.legacy_graphs import graph_of

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


def test_an_export_with_both_graphs_is_changed_in_both(tmp_path, capsys):
    graph, path = graph_of("IPAdapterAdvanced"), tmp_path / "export.json"
    path.write_text(json.dumps({"workflow": graph.ui, "output": graph.api}), encoding="utf-8")
    assert main([str(path)]) == 0
    made = json.loads(path.read_text(encoding="utf-8"))["output"].values()
    assert "LegacyIPAdapter" in {node["class_type"] for node in made}
    assert "2 node(s) changed" in capsys.readouterr().out


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
    "binary": (lambda folder: write(folder / "a.json", b"\x80\x00\x01"), "neither JSON nor a PNG"),
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


# What a file is like besides its values


MARKS = {"utf-8": b"", "utf-8-sig": b"\xef\xbb\xbf", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=ascii)
@pytest.mark.parametrize("indent", [None, 2, "\t", "\t\t"], ids=ascii)
@pytest.mark.parametrize("end", ["", "\n", "\n\n"], ids=ascii)
def test_encoding_line_ends_and_indentation_stay(workflow, encoding, newline, indent, end):
    def written(graph) -> bytes:
        text = json.dumps(graph, ensure_ascii=False, indent=indent) + end
        return MARKS[encoding] + text.replace("\n", newline).encode(encoding.removesuffix("-sig"))

    graph = graph_of("IPAdapterModelLoader").ui | {"extra": {"words": "größer"}}
    workflow.write_bytes(written(graph))
    assert main([str(workflow)]) == 0
    made = workflow.read_bytes()
    changed = json.loads(made[len(MARKS[encoding]) :].decode(encoding.removesuffix("-sig")))
    assert changed["nodes"][0]["type"] == "LoadIPAdapter" and made == written(changed)


def test_letters_that_were_escaped_stay_so(workflow):
    workflow.write_text(json.dumps(graph_of("IPAdapter").ui | {"extra": {"words": "größer"}}), encoding="utf-8")
    assert main([str(workflow)]) == 0
    assert b"gr\\u00f6\\u00dfer" in workflow.read_bytes()


def test_half_a_character_is_written_as_it_was_found(workflow):
    """As a front end cuts an emoji in two."""
    text = json.dumps(graph_of("IPAdapter").ui | {"extra": {"ö": "X"}}, ensure_ascii=False)
    workflow.write_text(text.replace('"X"', '"\\ud83d"'), encoding="utf-8")
    assert main([str(workflow)]) == 0
    assert json.loads(workflow.read_bytes())["extra"] == {"ö": "\ud83d"}
    assert b"\\ud83d" in workflow.read_bytes() and "ö" in workflow.read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_the_mode_stays(workflow, mode):
    workflow.chmod(mode)
    assert main([str(workflow)]) == 0
    assert workflow.stat().st_mode & 0o777 == mode


def test_a_link_stays_a_link(workflow):
    link = workflow.with_name("link.json")
    link.symlink_to(workflow)
    before = workflow.read_bytes()
    assert main([str(link)]) == 0
    assert link.is_symlink() and "LegacyIPAdapter" in classes(workflow)
    assert link.with_name("link.json.bak").read_bytes() == before


# What cannot be written is said before anything is changed


def untouched(workflow: Path, *arguments: str, capsys) -> str:
    """What is said where a command may change nothing."""
    before = {path.name: path.read_bytes() for path in workflow.parent.iterdir()}
    assert main([str(workflow), *arguments]) == 1
    assert {path.name: path.read_bytes() for path in workflow.parent.iterdir()} == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(".") and ".part" not in line
    return line


def test_a_read_only_file_is_left_alone(workflow, capsys):
    workflow.chmod(0o444)
    assert "may not be written: change its permissions" in untouched(workflow, capsys=capsys)


@pytest.mark.parametrize("option", ["--report", "--output"])
def test_a_folder_that_is_not_there_is_named(workflow, option, capsys):
    place = workflow.parent / "nowhere" / "made.json"
    assert f"there is no folder '{place.parent}'" in untouched(workflow, option, str(place), capsys=capsys)


@pytest.mark.parametrize("option", ["--report", "--output"])
def test_a_folder_is_no_file_to_write(workflow, option, capsys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder")
    assert "is a folder: name a file in it" in untouched(workflow, option, str(folder), capsys=capsys)


@pytest.mark.parametrize("suffix", ["/x", ""])
def test_a_suffix_that_is_no_part_of_a_name_is_refused(workflow, suffix, capsys):
    assert "is no part of a file's name" in untouched(workflow, "--suffix", suffix, capsys=capsys)


def test_a_full_disk_leaves_the_file_and_nothing_else(workflow, capsys, monkeypatch):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main([str(workflow)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list(workflow.parent.glob("*.part"))


# Standard input and output


def piped(content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "ipadapter.migrate", "-", *arguments]
    return subprocess.run(command, input=content, capture_output=True, cwd=ROOT)


def test_standard_input_goes_to_standard_output(tmp_path):
    given = json.dumps(graph_of("IPAdapter").ui, indent=1).encode("utf-16")
    done = piped(given)
    assert done.returncode == 0 and done.stdout.startswith(given[:2])
    assert "LegacyIPAdapter" in {node["type"] for node in json.loads(done.stdout.decode("utf-16"))["nodes"]}
    assert b"2 node(s) changed" in done.stderr


def test_a_graph_without_old_nodes_passes_through():
    done = piped(b'{"nodes": [], "links": []}\n')
    assert (done.returncode, done.stdout) == (0, b'{"nodes": [], "links": []}\n')


def test_a_picture_from_standard_input_can_be_written_to_a_file(tmp_path):
    given = picture(tmp_path / "drawn.png", workflow=json.dumps(graph_of("IPAdapter").ui)).read_bytes()
    made = tmp_path / "made.json"
    assert piped(given, "--output", str(made)).returncode == 0
    assert "LegacyIPAdapter" in classes(made)


def test_standard_input_goes_with_no_other_file(workflow):
    done = piped(b"", str(workflow))
    assert done.returncode == 1 and b"- is standard input, which goes with no other file" in done.stderr
