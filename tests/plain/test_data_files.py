"""Every JSON, TOML and YAML file can be read and says nothing twice, and what GitHub shows names this repository."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.schema.texts import shipped_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FORMS = ".github/ISSUE_TEMPLATE/"
# What pre-commit runs beside the checks of `make lint`.
MORE_HOOKS = ("python tools/environment.py run -m pytest -q ", "git diff --cached --check")


def once_each(keys: Iterable[Any]) -> None:
    """Raise ValueError where a key comes more than once; of those a reader would keep the last and say nothing."""
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise ValueError(f"there more than once: {twice}")


class OnceEach(yaml.SafeLoader):
    """YAML in which no key comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        once_each(self.construct_object(key, deep=True) for key, _ in node.value)
        return super().construct_mapping(node, deep)


def json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    once_each(key for key, _ in pairs)
    return dict(pairs)


def read_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=json_object)


def read_yaml(text: str) -> Any:
    return yaml.load(text, OnceEach)


READERS: Mapping[str, Callable[[str], Any]] = {
    ".json": read_json,
    ".toml": tomllib.loads,
    ".yaml": read_yaml,
    ".yml": read_yaml,
}
DATA = [file for file in shipped_files() if PurePosixPath(file).suffix in READERS]


def read(file: str) -> Any:
    return READERS[PurePosixPath(file).suffix]((ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", DATA)
def test_data_can_be_read(file):
    assert read(file)


@pytest.mark.parametrize(
    ("suffix", "text"), [(".json", '{"a": 1, "a": 2}'), (".toml", "a = 1\na = 2"), (".yml", "a: 1\na: 2")]
)
def test_what_is_there_twice_is_refused(suffix, text):
    with pytest.raises(ValueError):
        READERS[suffix](text)


def test_the_forms_lead_to_the_repository():
    repository = read("pyproject.toml")["project"]["urls"]["Repository"]
    forms = [file for file in DATA if file.startswith(FORMS)]
    links = [
        link for file in forms for link in re.findall(r"https?://[^\s)]+", (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert len(forms) == 3 and len(links) >= 3
    assert [link for link in links if not link.startswith(f"{repository}/")] == []


def test_pages_that_the_forms_lead_to_are_there():
    text = "".join((ROOT / file).read_text(encoding="utf-8") for file in DATA if file.startswith(FORMS))
    pages = re.findall(r"/blob/main/([^\s)]+)", text)
    assert pages and [page for page in pages if not (ROOT / page).is_file()] == []


def lint_commands() -> list[str]:
    """What `make lint` gives to the environment's Python."""
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.findall(r"\$\(VENV\) (-.*)", make.partition("\nlint:")[2].partition("\n\n")[0])


def test_before_a_commit_runs_what_lint_runs():
    asked = [hook["entry"] for hook in read(".pre-commit-config.yaml")["repos"][0]["hooks"]]
    checks = [entry for entry in asked if not entry.startswith(MORE_HOOKS)]
    assert len(checks) == len(lint_commands()) > 3
    for entry, command in zip(checks, lint_commands(), strict=True):
        words = command.removesuffix(" .").replace(" --check", "")
        assert entry.startswith(f"python tools/environment.py run {words}"), entry


def test_every_system_runs_what_lint_runs():
    steps = read(".github/workflows/tests.yml")["jobs"]["quick"]["steps"]
    runs = [step.get("run") for step in steps]
    assert [run for run in lint_commands() if f"python tools/environment.py --host none run {run}" not in runs] == []
