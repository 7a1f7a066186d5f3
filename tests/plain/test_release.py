"""A checkout is made ready to publish by one command, tried on a copy."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.schema.texts import shipped_files
from tools.release import (
    PLACES,
    ReleaseError,
    manager_entry,
    read_owner,
    setting,
    version_faults,
    write_owner,
    write_version,
)

OWNER = read_owner("somebody", "https://github.com/some-body/Prompts.git")
FILES = {*(place.file for place in PLACES), "CHANGELOG.md", "ipadapter/version.py"}
PLACEHOLDERS = re.compile(r"image-prompt-adapter/image-prompt-adapter|<address of|<本仓库")


@pytest.fixture
def copy(tmp_path) -> Path:
    """The files of a checkout that a release writes."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_publisher_and_address_are_written_wherever_they_belong(copy):
    changed = write_owner(copy, OWNER)
    assert set(changed) == {place.file for place in PLACES}
    texts = {name: (copy / name).read_text(encoding="utf-8") for name in changed}
    assert setting(copy, "PublisherId") == "somebody"
    assert setting(copy, "Repository") == "https://github.com/some-body/Prompts"
    assert setting(copy, "Icon").startswith("https://raw.githubusercontent.com/some-body/Prompts/main/")
    assert all("some-body/Prompts" in text for text in texts.values())
    assert "git clone https://github.com/some-body/Prompts image-prompt-adapter" in texts["README.md"]


def test_no_other_file_waits_for_an_address(copy):
    write_owner(copy, OWNER)
    names = [name for name in shipped_files() if Path(name).suffix in {".md", ".yml", ".toml", ".json", ".yaml"}]
    texts = {name: ((copy if name in FILES else ROOT) / name).read_text(encoding="utf-8") for name in names}
    assert [name for name, text in texts.items() if PLACEHOLDERS.search(text)] == []


def test_it_may_be_written_again_and_by_somebody_else(copy):
    write_owner(copy, OWNER)
    assert write_owner(copy, OWNER) == []
    other = read_owner("other", "https://github.com/other/pack/")
    assert set(write_owner(copy, other)) == {place.file for place in PLACES}
    assert manager_entry(copy)["reference"] == "https://github.com/other/pack"


def test_the_page_has_managers_row(copy):
    def shown() -> dict:
        page = (copy / "docs/publishing.md").read_text(encoding="utf-8")
        return json.loads(page.split("```json\n")[1].split("```")[0])

    assert shown() == manager_entry(copy)
    write_owner(copy, OWNER)
    assert shown() == manager_entry(copy) and shown()["author"] == "some-body"


def test_a_place_that_is_gone_is_named_before_anything_is_written(copy):
    (copy / "README.md").write_text("nothing", encoding="utf-8")
    with pytest.raises(
        ReleaseError, match="README.md has no place for 'git clone https://github.com/some-body/Prompts"
    ):
        write_owner(copy, OWNER)
    assert setting(copy, "PublisherId") != "somebody"


@pytest.mark.parametrize(
    ("publisher", "repository", "said"),
    [
        ("", "https://github.com/a/b", "PUBLISHER is ''"),
        ("a b", "https://github.com/a/b", "PUBLISHER is 'a b'"),
        ("a", "", "REPOSITORY is ''"),
        ("a", "git@github.com:a/b.git", "an address on GitHub is meant"),
        ("a", 'https://github.com/a/b"\n', "an address on GitHub is meant"),
    ],
)
def test_what_cannot_be_meant_is_refused(publisher, repository, said):
    with pytest.raises(ReleaseError, match=re.escape(said)):
        read_owner(publisher, repository)


def test_a_version_is_written_where_it_belongs(copy):
    write_version(copy, "7.8.9", date(2030, 1, 2))
    assert setting(copy, "version") == "7.8.9"
    assert 'VERSION = "7.8.9"' in (copy / "ipadapter/version.py").read_text(encoding="utf-8")
    assert "## [Unreleased]\n\n## [7.8.9] - 2030-01-02\n" in (copy / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [*version_faults(copy)] == []
    for again in ("7.8.9", "next"):
        with pytest.raises(ReleaseError):
            write_version(copy, again, date(2030, 1, 2))


def test_the_version_file_keeps_its_form(copy):
    before = (copy / "ipadapter/version.py").read_text(encoding="utf-8")
    write_version(copy, "7.8.9", date(2030, 1, 2))
    assert (copy / "ipadapter/version.py").read_text(encoding="utf-8").replace(
        "7.8.9", setting(ROOT, "version")
    ) == before


@pytest.mark.parametrize(
    ("changelog", "said"),
    [
        ("## [Unreleased]\n\n## [1.2.3] - 2030-01-02\n\n- a\n", None),
        ("## [Unreleased]\n\n- b\n\n## [1.2.3] - 2030-01-02\n", "1 line(s) above [1.2.3] that belong to no version"),
        ("## [1.2.3] - unreleased\n", "no date beside [1.2.3]"),
        ("## [1.2.2] - 2030-01-02\n", "section of CHANGELOG.md is 1.2.2, and the version is 1.2.3"),
        ("# Changelog\n", "section of CHANGELOG.md is none"),
    ],
)
def test_what_is_not_by_rule_is_named(copy, changelog, said):
    write_version(copy, "1.2.3", date(2030, 1, 2))
    (copy / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    faults = " ".join(version_faults(copy))
    assert said in faults if said else not faults
