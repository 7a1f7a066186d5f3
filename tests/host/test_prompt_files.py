"""Image prompts kept in the user's folders, through the nodes: listed, shown, read again and used again."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths
import pytest
import torch
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders.encoder import encode_black_picture, encode_image_prompt, encode_zero_pixels
from pack.ipadapter.host.legacy.actions import pair_prompts
from pack.ipadapter.host.prompts.files import load_prompt, prompt_names, with_encoder
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.prompts.prompt import ImagePrompt, Order
from pack.ipadapter.strength.strength import Strength
from pack.nodes.prompt_files import LoadImagePrompt, SaveImagePrompt
from PIL import Image

from tests.host.test_encoder import EMBED, HIDDEN, encoder
from tests.image_prompts import image_prompt
from tests.small import MICRO, make_pair
from tests.world import adapter_file, host_adapter, picture

PREFIX = "image_prompts/prompt"
SAVED = "image_prompts/prompt_00001_.safetensors [output]"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path):
    """The user's input and output folder."""
    before = folder_paths.get_input_directory(), folder_paths.get_output_directory()
    (tmp_path / "input").mkdir()
    (tmp_path / "output").mkdir()
    folder_paths.set_input_directory(str(tmp_path / "input"))
    folder_paths.set_output_directory(str(tmp_path / "output"))
    yield tmp_path
    folder_paths.set_input_directory(before[0])
    folder_paths.set_output_directory(before[1])


def small_prompt() -> ImagePrompt:
    return encode_image_prompt(encoder(), torch.rand(2, 64, 80, 3), Fit.CROP, torch.rand(1, 64, 64, 3))


def test_a_saved_prompt_is_listed_read_and_draws_the_same_picture(folders):
    model, adapter, prompt = make_pair(MICRO).host, host_adapter(adapter_file(MICRO, "plus")), image_prompt(2)
    SaveImagePrompt.execute(prompt, PREFIX)
    assert prompt_names() == [SAVED]
    assert LoadImagePrompt.define_schema().inputs[0].options == [SAVED]
    (back,) = LoadImagePrompt.execute(SAVED).args
    drawn = [
        picture(apply_image_prompt(model, adapter, given, Strength()), MICRO) for given in (prompt, load_prompt(SAVED))
    ]
    assert torch.equal(*drawn) and back.encoder == prompt.encoder
    assert torch.equal(back.parts[0].positive.penultimate, prompt.parts[0].positive.penultimate)


def test_each_save_has_a_number_of_its_own(folders):
    for _ in range(2):
        SaveImagePrompt.execute(small_prompt(), PREFIX, torch.rand(1, 8, 8, 3))
    names = sorted(path.name for path in (folders / "output" / "image_prompts").iterdir())
    assert names == ["prompt_00001_.png", "prompt_00001_.safetensors", "prompt_00002_.png", "prompt_00002_.safetensors"]


def test_a_picture_is_saved_small_beside_the_file_and_shown_by_both_nodes(folders):
    shown = SaveImagePrompt.execute(small_prompt(), PREFIX, torch.rand(3, 600, 300, 4)).ui
    with Image.open(folders / "output" / "image_prompts" / "prompt_00001_.png") as thumbnail:
        assert thumbnail.size == (128, 256)
    where = {"filename": "prompt_00001_.png", "subfolder": "image_prompts", "type": "output"}
    assert shown["images"] == [where]
    out = LoadImagePrompt.execute(SAVED)
    assert out.ui["images"] == [where] and out.ui["text"][0].startswith("2 image(s) in 1 part(s), made by clip_vision")


def test_without_a_picture_only_text_is_shown(folders):
    shown = SaveImagePrompt.execute(small_prompt(), "mine").ui
    path = folders / "output" / "mine_00001_.safetensors"
    assert shown == {"text": (str(path),), "said": (f"Saved as {path.name}",)}


def test_a_picture_that_is_none_is_refused_before_anything_is_written(folders):
    with pytest.raises(IPAdapterError):
        SaveImagePrompt.execute(small_prompt(), PREFIX, torch.rand(8, 8))
    assert not any((folders / "output").iterdir())


def test_a_prefix_outside_the_output_folder_is_refused(folders):
    with pytest.raises(IPAdapterError, match="is outside the output folder"):
        SaveImagePrompt.execute(small_prompt(), "../out")


def test_files_of_both_folders_are_listed_with_the_hosts_names(folders):
    for name in ("input/a.safetensors", "input/image_prompts/x/b.ipadpt", "output/c.ipadpt", "output/d.png"):
        (folders / name).parent.mkdir(parents=True, exist_ok=True)
        (folders / name).touch()
    (folders / "output" / "ipadapter").mkdir()
    (folders / "output" / "ipadapter" / "e.safetensors").touch()
    assert prompt_names() == ["a.safetensors", "image_prompts/x/b.ipadpt", "c.ipadpt [output]"]


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.safetensors [output]", "../secret.safetensors", ""])
def test_a_file_that_is_not_in_the_folders_is_a_sentence_before_the_run(name, folders):
    (folders / "secret.safetensors").touch()
    said = LoadImagePrompt.validate_inputs(name)
    assert said == (
        f"'{name}' is not in ComfyUI's input or output folder: choose a file from the list, or put it into "
        "input/image_prompts and press R."
    )
    with pytest.raises(IPAdapterError, match="is not in ComfyUI's input or output folder"):
        load_prompt(name)


def test_a_file_that_is_there_is_valid_and_another_when_it_changes(folders):
    SaveImagePrompt.execute(small_prompt(), PREFIX)
    assert LoadImagePrompt.validate_inputs(SAVED) is True
    first = LoadImagePrompt.fingerprint_inputs(SAVED)
    assert first == LoadImagePrompt.fingerprint_inputs(SAVED)
    os.utime(folders / "output" / "image_prompts" / "prompt_00001_.safetensors", ns=(1, 1))
    assert LoadImagePrompt.fingerprint_inputs(SAVED) not in (first, "")
    assert LoadImagePrompt.fingerprint_inputs("gone.safetensors") == ""


def test_a_file_holds_what_the_encoder_makes_of_no_image_though_nothing_has_read_it(folders):
    SaveImagePrompt.execute(encode_image_prompt(encoder(), torch.rand(1, 56, 56, 3), Fit.CROP), PREFIX)
    kept, asked = load_prompt(SAVED), encoder()
    assert torch.equal(kept.zero_pixels.penultimate, encode_zero_pixels(asked).penultimate)
    assert torch.equal(kept.zero_pixels.image_embeds, encode_zero_pixels(asked).image_embeds)
    assert torch.equal(kept.black, encode_black_picture(asked))


def test_another_packs_file_with_its_encoder_does_as_an_encoded_picture_does(folders):
    prompt = encode_image_prompt(encoder(), torch.rand(2, 56, 56, 3), Fit.CROP)
    features = prompt.parts[0].positive
    torch.save(features.penultimate, folders / "input" / "plus.ipadpt")
    torch.save(features.image_embeds, folders / "input" / "base.ipadpt")
    for family, sizes in {"plus": {"hidden": HIDDEN}, "base": {"embed": EMBED}}.items():
        adapter = host_adapter(adapter_file(MICRO, family, **sizes))
        given = load_prompt(f"{family}.ipadpt", encoder())
        assert given.encoder == prompt.encoder
        drawn = [
            picture(apply_image_prompt(make_pair(MICRO).host, adapter, one, Strength()), MICRO)
            for one in (prompt, given)
        ]
        assert torch.equal(*drawn)


def keep(folders) -> tuple[ImagePrompt, dict]:
    """Features as another pack keeps them; the prompt they are of, and adapters for either file."""
    prompt = encode_image_prompt(encoder(), torch.rand(1, 56, 56, 3), Fit.CROP)
    torch.save(prompt.parts[0].positive.penultimate, folders / "input" / "plus.ipadpt")
    torch.save(prompt.parts[0].positive.image_embeds, folders / "input" / "base.ipadpt")
    sizes = {"plus": {"hidden": HIDDEN}, "base": {"embed": EMBED}}
    return prompt, {family: host_adapter(adapter_file(MICRO, family, **size)) for family, size in sizes.items()}


def drawn(adapter, prompt) -> torch.Tensor:
    return picture(apply_image_prompt(make_pair(MICRO).host, adapter, prompt, Strength()), MICRO)


def test_a_base_adapter_reads_another_packs_file_without_its_encoder(folders):
    prompt, adapters = keep(folders)
    assert torch.equal(drawn(adapters["base"], load_prompt("base.ipadpt")), drawn(adapters["base"], prompt))


def test_a_plus_adapter_asks_for_it_unless_there_is_a_negative(folders):
    prompt, adapters = keep(folders)
    loaded = load_prompt("plus.ipadpt")
    with pytest.raises(IPAdapterError, match="connect that encoder to clip_vision of Load Image Prompt"):
        drawn(adapters["plus"], loaded)
    assert torch.equal(drawn(adapters["plus"], with_encoder(loaded, encoder())), drawn(adapters["plus"], prompt))
    paired = [pair_prompts(one, loaded, Order.TOGETHER) for one in (loaded, prompt)]
    assert torch.equal(*(drawn(adapters["plus"], one) for one in paired))


def test_another_encoder_than_the_files_is_refused_where_it_is_given_later(folders):
    torch.save(torch.zeros(1, EMBED + 8), folders / "input" / "base.ipadpt")
    with pytest.raises(IPAdapterError, match="the image prompt holds features shaped .* connect the clip_vision"):
        with_encoder(load_prompt("base.ipadpt"), encoder())


def test_a_prompt_of_an_unknown_encoder_is_not_saved(folders):
    keep(folders)
    with pytest.raises(IPAdapterError, match="so that the new file can say it"):
        SaveImagePrompt.execute(load_prompt("base.ipadpt"), PREFIX)
    assert not list((folders / "output").rglob("*.safetensors"))


def test_another_packs_file_of_another_encoder_is_refused(folders):
    torch.save(torch.zeros(1, EMBED + 8), folders / "input" / "base.ipadpt")
    with pytest.raises(IPAdapterError, match="connect the clip_vision that made them"):
        load_prompt("base.ipadpt", encoder())


def test_a_saved_prompt_of_another_encoder_is_refused_where_it_is_applied(folders):
    SaveImagePrompt.execute(small_prompt(), PREFIX)
    adapter = host_adapter(adapter_file(MICRO, "plus"))
    with pytest.raises(IPAdapterError, match="the image prompt's encoder is clip_vision_model"):
        apply_image_prompt(make_pair(MICRO).host, adapter, load_prompt(SAVED), Strength())
