"""What an image prompt can be made of, and where it can act."""

from __future__ import annotations

import pytest

from tests.live.files import TOWER
from tests.live.graph import Graph, Link
from tests.live.studio import SIDE, Studio, difference

pytestmark = pytest.mark.live

SAME, OTHER = 0.5, 1.0  # differences in levels: rounding aside nothing, and clearly another picture


def photo(graph: Graph) -> Link:
    return graph.output("LoadImage")


def inverted(graph: Graph) -> Link:
    return graph.add("ImageInvert", image=photo(graph))


def left_half(graph: Graph, side: int) -> Link:
    """A mask that is white on the left."""
    black = graph.add("SolidMask", value=0.0, width=side, height=side)
    white = graph.add("SolidMask", value=1.0, width=side // 2, height=side)
    return graph.add("MaskComposite", destination=black, source=white, x=0, y=0, operation="add")


def white(graph: Graph, side: int) -> Link:
    return graph.add("SolidMask", value=1.0, width=side, height=side)


def test_a_batch_is_several_references(studio: Studio) -> None:
    one, twice, two = (studio.light() for _ in range(3))
    images = {"images.image0": photo(twice), "images.image1": photo(twice)}
    twice = twice.change("EncodeImagePrompt", image=twice.add("BatchImagesNode", **images))
    images = {"images.image0": photo(two), "images.image1": inverted(two)}
    two = two.change("EncodeImagePrompt", image=two.add("BatchImagesNode", **images))
    alone = studio.draw(one)
    assert difference(alone, studio.draw(twice)) < SAME
    assert difference(alone, studio.draw(two)) > OTHER


def test_a_negative_image_counts(studio: Studio) -> None:
    graph = studio.light()
    negative = graph.change("EncodeImagePrompt", negative_image=inverted(graph))
    assert difference(studio.draw(graph), studio.draw(negative)) > OTHER


@pytest.mark.parametrize("node", ["EncodeImagePrompt", "ApplyIPAdapter"])
def test_a_mask_limits_and_a_white_one_does_not(node: str, studio: Studio) -> None:
    """On the encoding node it says what of the reference counts, on the applying one where in the picture it acts."""
    plain, whole, half = (studio.light() for _ in range(3))
    whole = whole.change(node, mask=white(whole, SIDE))
    half = half.change(node, mask=left_half(half, SIDE))
    picture = studio.draw(plain)
    assert difference(picture, studio.draw(whole)) < SAME
    assert difference(picture, studio.draw(half)) > OTHER


def test_one_mask_for_each_picture_of_a_batch(studio: Studio) -> None:
    """Two pictures, the second masked from the image prompt's reach altogether: it is the base model's own."""
    graph = studio.light().change("EmptyLatentImage", batch_size=2)
    without = studio.run(graph.change("ApplyIPAdapter", weight=0)).pictures[graph.only("SaveImage")]
    first = graph.add("MaskToImage", mask=white(graph, SIDE))
    second = graph.add("MaskToImage", mask=graph.add("SolidMask", value=0.0, width=SIDE, height=SIDE))
    both = graph.add("BatchImagesNode", **{"images.image0": first, "images.image1": second})
    masked = graph.change("ApplyIPAdapter", mask=graph.add("ImageToMask", image=both, channel="red"))
    pictures = studio.run(masked).pictures[graph.only("SaveImage")]
    assert difference(pictures[0], without[0]) > OTHER
    assert difference(pictures[1], without[1]) < SAME


def test_a_window_acts_while_it_is_open(studio: Studio) -> None:
    graph = studio.light().change("KSampler", steps=4)
    late, never = graph.change("ApplyIPAdapter", start_at=0.6), graph.change("ApplyIPAdapter", weight=0)
    pictures = [studio.draw(one) for one in (graph, late, never)]
    assert min(difference(pictures[i], pictures[j]) for i, j in ((0, 1), (1, 2), (0, 2))) > 0.1


def test_an_open_clip_encoder_is_recognised_and_used(studio: Studio) -> None:
    found = studio.draw(studio.light("auto"))
    assert (found == studio.draw(studio.light(TOWER))).all()
    assert difference(found, studio.draw(studio.light().change("ApplyIPAdapter", weight=0))) > OTHER


def test_an_open_clip_encoder_serves_the_hosts_own_nodes(studio: Studio) -> None:
    graph = studio.light()
    features = graph.add(
        "CLIPVisionEncode", clip_vision=graph.output("LoadOpenCLIPVision"), image=photo(graph), crop="center"
    )
    shown = graph.add("PreviewAny", source=features)
    run = studio.run(graph)
    assert "Output" in run.outcome.outputs[shown[0]]["text"][0]
