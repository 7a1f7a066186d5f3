"""The configuration file: what it takes, and what it says of what it does not take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters.families import BASE, FACE_ID, PLUS, TRAINABLE
from pack.ipadapter.commands.train.config import read_config
from pack.ipadapter.commands.train.encoding import Settings, make_plan
from pack.ipadapter.commands.train.listing import Entry, find_shards
from pack.ipadapter.commands.train.trackers import TENSORBOARD
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.training.recipe import Drops, Recipe

from tests.naming import ROOT

SMALLEST = """
[model]
checkpoint = "models/base.safetensors"
clip_vision = "vision.safetensors"
[data]
folder = "pictures"
[output]
folder = "out"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_smallest_file_has_the_papers_recipe_and_paths_beside_it(tmp_path):
    config = read_config(written(tmp_path, SMALLEST))
    recipe = config.recipe
    assert (recipe.kind, recipe.token_count, recipe.learning_rate, recipe.weight_decay) == (BASE, 4, 1e-4, 0.01)
    assert (recipe.drops.text, recipe.drops.image, recipe.drops.both) == (0.05, 0.05, 0.05)
    assert config.model.checkpoint == tmp_path / "models" / "base.safetensors"
    assert config.data.resolution == 512
    assert config.cache_folder == tmp_path / "out" / "cache"


@pytest.mark.parametrize("kind", TRAINABLE)
def test_whatever_can_be_trained_can_be_named(kind, tmp_path):
    config = read_config(written(tmp_path, SMALLEST.replace("[data]", f"kind = '{kind}'\n[data]")))
    assert config.recipe.kind is TRAINABLE[kind]


def test_the_example_in_the_documentation_is_a_configuration():
    config = read_config(ROOT / "docs" / "training.toml")
    assert config.recipe.kind is PLUS


EARLIER = sorted((ROOT / "tests" / "data" / "training").glob("*.toml"))


@pytest.mark.parametrize("file", EARLIER, ids=lambda path: path.stem)
def test_a_configuration_of_an_earlier_version_trains_what_it_always_did(file):
    """Every setting that version had; what has come since is off, and a cache keeps its name."""
    config = read_config(file)
    drops = Drops(0.05, 0.05, 0.05)
    assert config.recipe == Recipe(PLUS, 0, 100000, 8, 1, 1e-4, 0.01, drops, 0, "constant", 0, 0.0)
    assert config.settings == Settings(512, torch.float16, 256, 8, False)
    assert not config.training.ema_decay and not config.validation.wanted
    assert config.output.all_trackers == (TENSORBOARD,)
    here = file.parent / "models"
    assert config.model.checkpoint == here / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors"
    assert config.model.clip_vision == here / "clip_vision" / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors"
    entry = Entry("a.png", "a cat", Path("a.png"), 0, 10, 20)
    assert make_plan([entry], ("plus",), config.settings, Path()).cache.folder.name == "fa97d1cbba7294e42246"


def test_the_configuration_for_few_pictures_goes_on_from_an_adapter_gently():
    usual, few = (read_config(ROOT / "docs" / name) for name in ("training.toml", "training-few.toml"))
    assert few.model.init_from is not None and few.training.ema_decay > 0
    assert max(map(few.recipe.rate, range(few.training.steps))) <= usual.training.learning_rate / 10


def test_faces_need_no_image_encoder(tmp_path):
    text = SMALLEST.replace('clip_vision = "vision.safetensors"', "kind = 'FaceID'")
    config = read_config(written(tmp_path, text))
    assert (config.recipe.kind, config.recipe.token_count, config.reader) == (FACE_ID, 4, "InsightFace buffalo_l")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[data]", "[training]\nstep = 3\n[data]"), r"training\.step is not a setting \(there are steps, batch_size"),
        (("[data]", "[trainign]\n[data]"), r"trainign is not a setting \(there are model, data, training"),
        (("[data]", "[training]\nsteps = 0\n[data]"), r"training\.steps is 0: input should be greater than 0"),
        (("[data]", "[training]\nsteps = 'many'\n[data]"), r"training\.steps is 'many': input should be a valid int"),
        (("[data]", "[training]\nlearning_rate = nan\n[data]"), r"training\.learning_rate is nan"),
        (("[data]", "[training]\nmixed_precision = 'fp8'\n[data]"), "'no', 'fp16' or 'bf16'"),
        (("[data]", "[training]\ndrop_text = 0.9\ndrop_image = 0.9\n[data]"), "probabilities of one draw"),
        (('folder = "pictures"', ""), "data needs one of folder and shards"),
        (('folder = "pictures"', 'folder = "pictures"\nresolution = 500'), r"data\.resolution is 500: .*multiple of 8"),
        (('checkpoint = "models/base.safetensors"', ""), "model needs checkpoint, or all of unet, clip and vae"),
        (('folder = "out"', ""), r"output\.folder is missing"),
        (("[data]", "[training]\nschedule = 'step'\n[data]"), "training.schedule is 'step': .*'linear' or 'cosine'"),
        (
            ("[data]", "[training]\nwarmup_steps = 1000\n[data]"),
            "warmup_steps is 1000 and steps 1000: the warm-up must",
        ),
        (("[data]", "[training]\nema_decay = 1.0\n[data]"), r"training\.ema_decay is 1.0: input should be less than 1"),
        (("[data]", "[validation]\nevery = 5\n[data]"), "validation needs references, or held_out above 0"),
        (
            ("[data]", "[validation]\nheld_out = 2\nreferences = 'a'\n[data]"),
            "validation has both references and held_out: leave one out",
        ),
        (("[data]", "[validation]\nheld_out = 1\nseeds = []\n[data]"), r"validation\.seeds is \[\]: .* at least 1"),
        (("[data]", "[validation]\nheldout = 1\n[data]"), r"validation\.heldout is not a setting \(there are refer"),
        (('clip_vision = "vision.safetensors"', ""), "model needs clip_vision, which kind base reads pictures with"),
        (
            ('folder = "pictures"', 'folder = "pictures"\nface_embeddings = true'),
            r"data\.face_embeddings is true, but model\.kind base reads no faces",
        ),
        (
            ("\n[data]", '\nkind = "FaceID Plus"\n[data]\nface_embeddings = true'),
            r"reads the picture of each face, which InsightFace finds: set it to false, or model\.kind to FaceID\.$",
        ),
        (("[data]", "[data"), "is not TOML"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, change, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        read_config(written(tmp_path, SMALLEST.replace(*change)))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(IPAdapterError, match="nowhere.toml' cannot be read: No such file"):
        read_config(tmp_path / "nowhere.toml")


def test_one_name_may_stand_where_several_may(tmp_path):
    shards = SMALLEST.replace('folder = "pictures"', 'shards = "shards/{000..002}.tar"')
    assert read_config(written(tmp_path, shards)).data.shards == [tmp_path / "shards" / "{000..002}.tar"]


LIMITED = {
    "training": ("steps", "batch_size", "grad_accumulation", "learning_rate", "weight_decay", "drop_text", "seed"),
    "cache": ("chunk", "batch_size"),
    "output": ("checkpoint_every", "keep", "log_every"),
    "data": ("resolution",),
    "model": ("tokens",),
    "validation": ("held_out", "every", "steps", "guidance"),
}
OUTSIDE = ["nan", "inf", "-inf", "-1", "1e400", str(10**30), '"1"']


@pytest.mark.parametrize("number", OUTSIDE)
@pytest.mark.parametrize(("section", "name"), [(section, name) for section in LIMITED for name in LIMITED[section]])
def test_a_number_that_is_none_or_out_of_range_is_refused_by_name(section, name, number, tmp_path):
    table = f"[{section}]\n"
    text = SMALLEST.replace(table, f"{table}{name} = {number}\n") if table in SMALLEST else SMALLEST + table
    text = text if table in SMALLEST else f"{text}{name} = {number}\n"
    with pytest.raises(IPAdapterError, match=rf"{section}\.{name} is "):
        read_config(written(tmp_path, text))


@pytest.mark.parametrize("path", ["~nobody-is-called-so/a.safetensors", "~nobody-is-called-so", "a\\u0000b"])
def test_a_path_of_nobody_is_refused_by_name(path, tmp_path):
    for old in ("models/base.safetensors", "vision.safetensors", '"pictures"', '"out"'):
        new = f'"{path}"' if old.startswith('"') else path
        with pytest.raises(IPAdapterError) as error:
            read_config(written(tmp_path, SMALLEST.replace(old, new)))
        text = str(error.value)
        assert text.isprintable() and text.endswith("."), text


@pytest.mark.parametrize(
    "pattern", ["{0..99999999999}.tar", "{0..9}" * 12 + ".tar", "{a,b}" * 40, "{" + "9" * 5000 + "..1}"]
)
def test_braces_that_stand_for_more_files_than_there_are_end(pattern, tmp_path):
    with pytest.raises(IPAdapterError, match=r"data\.shards"):
        find_shards(tmp_path / pattern)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("training", 'learning_rate = "1e-4"'),
        ("training", "steps = true"),
        ("training", 'steps = "7"'),
        ("training", "steps = 3.0"),
        ("training", 'gradient_checkpointing = "no"'),
        ("training", "gradient_checkpointing = 1"),
        ("training", "seed = false"),
        ("training", 'drop_text = "0.1"'),
        ("training", "drop_text = true"),
        ("output", "tensorboard = 0"),
        ("output", 'tensorboard = "off"'),
        ("data", 'skip_bad = "yes"'),
    ],
)
def test_no_value_is_taken_for_another(section, line, tmp_path):
    text = SMALLEST.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
    text = text if section in ("output", "data") else f"{text}[{section}]\n{line}\n"
    with pytest.raises(IPAdapterError, match=rf"{section}\.{line.split(' ')[0]} is (?!3:)"):  # 3.0 as it is written
        read_config(written(tmp_path, text))


def test_too_many_faults_are_counted(tmp_path):
    text = SMALLEST + "".join(f"[section{number}]\n" for number in range(9))
    with pytest.raises(IPAdapterError, match=r"; and 3 more\.$"):
        read_config(written(tmp_path, text))


def test_too_many_brackets_are_a_sentence(tmp_path):
    with pytest.raises(IPAdapterError, match=r"config\.toml' is not TOML .*: it has too many brackets\.$"):
        read_config(written(tmp_path, f"a = {'[' * 20_000}"))
