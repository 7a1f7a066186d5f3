"""Help pages, locales and the pages on nodes and graphs say what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from pack.ipadapter.backbones import known

from tests.schema.texts import (
    CURRENT,
    LOCALES,
    NODE_IDS,
    ROOT,
    english,
    help_page,
    inputs_of,
    key_paths,
    listed,
    locale,
    names_listed,
    quoted_errors,
    sections,
    sentences_of_the_source,
)

PAGES = [(node_id, language) for node_id in NODE_IDS for language in LOCALES]

# Options that are the same in every language.
NAMES_OF_THINGS = {
    *("K+V", "v1", "v2", "bf16", "fp32", "plus", "XLabs FLUX"),
    *("CPU", "CUDA", "ROCM", "DirectML", "OpenVINO", "CoreML"),
    *("Kolors", "FACEID", "FACEID PLUS V2", "FLUX XLabs", "FLUX InstantX", "FLUX InstantCharacter"),
    *("SD3.5 InstantX", "SDXL InstantID", "FaceID", "FaceID Plus"),
}


@pytest.fixture(scope="session")
def source() -> str:
    return "\n".join((sentences_of_the_source(), known.NO_LAYERS))  # which is put together


def test_the_english_locale_is_the_schema(info):
    assert locale("en") == english(info), "run: .venv/bin/python -m tests.schema.renew"


@pytest.mark.parametrize("language", [language for language in LOCALES if language != "en"])
def test_a_locale_has_the_keys_of_the_schema(info, language):
    assert key_paths(locale(language)) == key_paths(english(info))


def test_the_chinese_locale_is_chinese():
    written = [text for text in leaves(locale("zh")) if not re.search(r"[\u4e00-\u9fff]", text)]
    assert not written


def test_every_folder_of_nodes_has_a_chinese_name(info):
    folders = {folder for node in info.values() for folder in node["category"].split("/")}
    named = json.loads((ROOT / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))["nodeCategories"]
    of_the_front_end = {"loaders", "training"}
    assert folders == {"IP-Adapter", *named, *of_the_front_end}


def test_every_option_that_is_a_word_has_a_chinese_label(info):
    text = json.loads((ROOT / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))
    labels = text["imagePromptAdapter"]["options"]
    offered = {option for node_id in CURRENT for option in options_of(info[node_id])}
    assert offered - {*labels} == NAMES_OF_THINGS
    assert {label.split(": ")[-1] for label in labels} <= offered


def options_of(node) -> list[str]:
    """What the node's lists offer, those of files left out."""
    inputs = [one for group in node["input"].values() if isinstance(group, dict) for one in group.values()]
    return [option for kind, *settings in inputs if kind == "COMBO" for option in settings[0]["options"]]


@pytest.mark.parametrize("language", LOCALES)
def test_no_text_has_a_sign_that_the_front_end_reads_as_a_placeholder(language):
    assert [text for text in leaves(locale(language)) if set(text) & set("{}@|")] == []


def leaves(tree) -> list[str]:
    """Every text of nested dictionaries."""
    return [tree] if isinstance(tree, str) else [text for value in tree.values() for text in leaves(value)]


@pytest.mark.parametrize(("node_id", "language"), PAGES)
def test_a_help_page_names_every_input_and_output(info, node_id, language):
    inputs, outputs, *_ = map(listed, sections(help_page(node_id, language).read_text(encoding="utf-8")))
    assert inputs == list(inputs_of(info[node_id]))
    assert outputs == info[node_id]["output_name"]


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_chinese_help_page_lists_what_the_node_shows(node_id):
    inputs, outputs, *_ = sections(help_page(node_id, "zh").read_text(encoding="utf-8"))
    texts = locale("zh")[node_id]
    assert names_listed(inputs) == [texts["inputs"][name]["name"] for name in listed(inputs)]
    assert names_listed(outputs) == [text["name"] for text in texts["outputs"].values()]


@pytest.mark.parametrize(("node_id", "language"), PAGES)
def test_a_help_page_quotes_errors_that_exist(source, node_id, language):
    quotes = quoted_errors(help_page(node_id, language).read_text(encoding="utf-8"))
    assert len(quotes) >= (2 if node_id in CURRENT else 1)
    assert [quote for quote in quotes if quote not in source] == []


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_translated_page_explains_the_same_errors(node_id):
    pages = [help_page(node_id, language).read_text(encoding="utf-8") for language in LOCALES]
    assert len({tuple(quoted_errors(page)) for page in pages}) == 1


def test_a_sentence_names_a_node_as_users_see_it(source):
    pages = [help_page(*page).read_text(encoding="utf-8") for page in PAGES]
    locales = [text for language in LOCALES for text in leaves(locale(language))]
    lines = [line for text in (source, *pages, *locales) for line in text.splitlines() if " " in line]
    ids = re.compile(rf"\b({'|'.join(NODE_IDS)})\b")
    assert [line for line in lines if ids.search(line)] == []


def test_no_other_help_pages_are_shipped():
    docs = ROOT / "web" / "docs"
    assert {*docs.rglob("*.md")} == {help_page(*page) for page in PAGES}


def test_the_page_on_troubleshooting_quotes_errors_that_exist(source):
    quotes = quoted_errors((ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"))
    assert len(quotes) >= 8
    assert [quote for quote in quotes if not all(piece in source for piece in quote.split(" … "))] == []


def test_every_workflow_is_among_the_recipes():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "workflows").glob("*.json")]
    assert names
    assert [name for name in names if f"workflows/{quote(name)}" not in text] == []


def test_every_node_and_input_is_on_the_page_on_nodes(info):
    text, nodes = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8"), [info[name] for name in CURRENT]
    missing = [node["display_name"] for node in nodes if node["display_name"] not in text]
    missing += [name for node in nodes for name in inputs_of(node) if f"`{name}`" not in text]
    assert missing == []


def test_pictures_are_small():
    pictures = [*Path(ROOT / "docs" / "images").rglob("*.*"), *Path(ROOT / "workflows").glob("*.jpg")]
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 400_000] == []
