"""What is asked of a host, on modules that everybody has."""

from __future__ import annotations

import re
from pathlib import Path

from pack.ipadapter.host.features import OLDEST, HostError, HostFeature, missing_features, require_features

from tests.refusals import refusal

ROOT = Path(__file__).resolve().parents[2]
THERE = (HostFeature("os", "path.join", "paths"), HostFeature("xml.dom", "Node.ELEMENT_NODE", "documents"))
NO_NAME = HostFeature("os", "path.no_such_name", "names that nobody has")
NO_PART = HostFeature("os", "no_such_part.name", "parts that nobody has")
NO_MODULE = HostFeature("xml.no_such_module", "anything", "modules that nobody has")
NO_PACKAGE = HostFeature("no_such_package.module", "anything", "packages that nobody has")
ABSENT = (NO_NAME, NO_PART, NO_MODULE, NO_PACKAGE)


def test_a_feature_is_a_name_in_a_module():
    assert missing_features(THERE) == []
    assert missing_features((*ABSENT, *THERE)) == list(ABSENT)


def test_a_host_that_has_everything_is_taken():
    require_features(*THERE)


def test_everything_that_a_host_lacks_is_said_in_one_sentence():
    text = refusal(require_features, *THERE, *ABSENT, error=HostError)
    assert text.startswith(f"Image Prompt Adapter needs ComfyUI {OLDEST} or later; this is ComfyUI ")
    assert all(f"{one.meaning} ({one.module}.{one.name})" in text for one in ABSENT)
    assert "paths" not in text and text.endswith(": update ComfyUI.")


def test_the_registry_and_the_readme_are_told_the_oldest_version():
    assert f'requires-comfyui = ">={OLDEST}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf"ComfyUI {re.escape(OLDEST)} or later", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_oldest_version_is_one_that_the_tests_run_on():
    assert (ROOT / "tools" / "hosts" / OLDEST / "host.txt").is_file()
