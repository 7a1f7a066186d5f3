"""Who types a word finds the node: the front end's own search, in both languages.

Its search box and its node library ask one index, which puts names that hold the word before words beside a name,
and among equals nodes that are used more.
"""

from __future__ import annotations

from playwright.sync_api import Page

from tests.schema.texts import CURRENT

BOX = "input[aria-controls=results-list]"
SHOWN = 3  # nodes that are seen without looking down a list

# Words for which the search puts three or more of ComfyUI's own nodes first, by their names or for being used more:
# this pack's node is the first behind those.
BEHIND_OTHERS = {
    "reference": "PrepareReferenceImage",
    "style": "ApplyIPAdapter",
    "tiled": "EncodeImagePrompt",
    "attention": "ImagePromptAttention",
    "composition": "ApplyIPAdapter",
    "animation": "ImagePromptFrames",
}

ENGLISH = {
    "ip": "FindIPAdapter",
    "ipadapter": "FindIPAdapter",
    "ip adapter": "FindIPAdapter",
    "ip-adapter": "LoadIPAdapter",
    "apply ipadapter": "ApplyIPAdapter",
    "unified loader": "FindIPAdapter",
    "flux ip adapter": "ApplyIPAdapter",
    "ipadapter mask": "ApplyIPAdapter",
    "ipadapter weight": "ApplyIPAdapter",
    "ipadapter style": "ApplyIPAdapter",
    "reference image": "PrepareReferenceImage",
    "style transfer": "ApplyIPAdapter",
    "weight": "ApplyIPAdapter",
    "negative": "ImagePromptNoise",
    "face": "EncodeFacePrompt",
    "faceid": "EncodeFacePrompt",
    "face swap": "EncodeFacePrompt",
    "instantid": "ApplyInstantIDControlNet",
    "img2img": "ApplyIPAdapter",
    "tiled ip adapter": "EncodeImagePrompt",
    "region": "ImagePromptRegion",
    "layers": "ImagePromptLayers",
    "curve": "ImagePromptCurve",
    "heat map": "ImagePromptAttention",
    "attention map": "ImagePromptAttention",
    "train": "TrainIPAdapter",
    "evaluate": "EvaluateImagePrompt",
    "compare": "ImagePromptGrid",
    "save embeds": "SaveImagePrompt",
}
CHINESE = {
    "适配器": "ApplyIPAdapter",
    "图片提示": "EncodeImagePrompt",
    "图生图": "ApplyIPAdapter",
    "参考图": "PrepareReferenceImage",
    "垫图": "ApplyIPAdapter",
    "风格迁移": "ApplyIPAdapter",
    "构图": "ApplyIPAdapter",
    "权重": "ImagePromptLayers",
    "人脸": "EncodeFacePrompt",
    "面部": "EncodeFacePrompt",
    "换脸": "EncodeFacePrompt",
    "角色一致性": "EncodeFacePrompt",
    "分层": "ImagePromptLayers",
    "曲线": "ImagePromptCurve",
    "热力图": "ImagePromptAttention",
    "噪声": "ImagePromptNoise",
    "训练": "TrainIPAdapter",
    "评估": "EvaluateImagePrompt",
    "对比": "ImagePromptGrid",
    "平铺": "EncodeImagePrompt",
}


def open_search(page: Page) -> None:
    """The search box, with the id of each node it lists."""
    page.evaluate("window.app.extensionManager.setting.set('Comfy.NodeSearchBoxImpl.ShowIdName', true)")
    page.evaluate("window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.locator(BOX).wait_for()


def close_search(page: Page) -> None:
    page.evaluate("window.app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.evaluate("window.app.extensionManager.setting.set('Comfy.NodeSearchBoxImpl.ShowIdName', false)")


def all_found(page: Page, query: str) -> list[str]:
    """The ids of the nodes in the list, from above."""
    page.locator(BOX).fill(query)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.get_by_test_id("node-id-badge").all_text_contents()


def not_found(page: Page, wanted: dict[str, str]) -> dict[str, list[str]]:
    """What stands first in the place of nodes that do not."""
    open_search(page)
    found = {query: all_found(page, query)[:SHOWN] for query in wanted}
    close_search(page)
    return {query: ids for query, ids in found.items() if wanted[query] not in ids}


def test_english_words_find_the_node(page: Page) -> None:
    assert not_found(page, ENGLISH) == {}


def test_of_this_packs_nodes_the_right_one_is_first_where_others_have_the_word(page: Page) -> None:
    open_search(page)
    found = {query: [node for node in all_found(page, query) if node in CURRENT][:1] for query in BEHIND_OTHERS}
    close_search(page)
    assert found == {query: [node] for query, node in BEHIND_OTHERS.items()}


def test_chinese_words_find_the_node(chinese: Page) -> None:
    assert not_found(chinese, CHINESE) == {}
