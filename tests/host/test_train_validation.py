"""Pictures that are drawn while the command trains: that they cost the run nothing, and none is lost or made twice."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from pack.ipadapter.host.encoders.encoder import encode_image_prompt
from pack.ipadapter.host.evaluation.judging import judge_with
from pack.ipadapter.images.pixels import Fit
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipadapter.commands.train.config import read_config
from ipadapter.commands.train.references import split_data
from ipadapter.commands.train.start import list_data, run_config
from ipadapter.errors import IPAdapterError
from tests.host.test_encoder import encoder
from tests.host.test_train_cli import FORKED, assert_same_bits, losses
from tests.host.train_cli_world import Job, carry_out
from tests.naming import ROOT
from tests.plain.test_metrics import ours_model, saved

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerate")]


def noise(path: Path, seed: int) -> None:
    pixels = torch.randint(0, 255, (40 * 48 * 3,), generator=torch.Generator().manual_seed(seed))
    Image.frombytes("RGB", (48, 40), bytes(pixels.tolist())).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four pictures to learn from, and two to draw."""
    made = tmp_path_factory.mktemp("validated")
    for name, count in {"pictures": 4, "references": 2}.items():
        (made / name).mkdir()
        for number in range(count):
            noise(made / name / f"{number}.png", 10 * count + number)
            (made / name / f"{number}.txt").write_text(f"a picture {number}")
    return made


@pytest.fixture(scope="module")
def whole(folder) -> Job:
    """A run of six steps, with validations before, in the middle and after."""
    job = Job(str(folder / "pictures"), str(folder / "whole"), references=str(folder / "references"), ema_decay=0.5)
    assert carry_out(job) == 6
    return job


def lines(job: Job) -> list[dict]:
    text = (Path(job.folder) / "validation.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_with_validation_has_the_numbers_of_one_without(whole, tmp_path):
    plain = replace(whole, folder=str(tmp_path / "plain"), references="")
    assert carry_out(plain) == 6
    assert_same_bits(Path(whole.folder), tmp_path / "plain")


def test_every_validation_leaves_a_sheet_and_a_line(whole):
    made = lines(whole)
    assert [line["step"] for line in made] == [0, 3, 6]
    for line in made:
        shots = [(one["reference"], one["prompt"], one["seed"]) for one in line["pictures"]]
        assert shots == [(f"{n}.png", text, seed) for n in (0, 1) for text in ("", "a cat") for seed in (0, 1)]
        assert line["clip_i"] == pytest.approx(sum(one["clip_i"] for one in line["pictures"]) / 8)
        assert (line["weights"], line["measured_with"]) == ("their average", "averages")
        sheet = Image.open(Path(whole.folder) / "validation" / f"step-{line['step']:06d}.png")
        assert sheet.width > 5 * 256 and sheet.height > 2 * 200, "a reference and four pictures in each of two rows"
    assert made[0]["clip_i"] != made[1]["clip_i"] != made[2]["clip_i"], "the weights have moved"


@FORKED
@pytest.mark.parametrize("trouble", ["kill_drawing_at", "kill_in_save", "terminate_at"])
def test_a_run_that_goes_on_neither_repeats_nor_loses_a_validation(trouble, whole, tmp_path, forker):
    job = replace(whole, folder=str(tmp_path / "run"))
    ended = forker.ask("train_cli_world", asdict(replace(job, **{trouble: 4 if trouble == "kill_in_save" else 3})))
    assert ended["code"] == (0 if trouble == "terminate_at" else -9)
    assert carry_out(job) == 6
    assert lines(job) == lines(whole)
    assert_same_bits(Path(job.folder), Path(whole.folder))


def test_a_validation_that_fails_is_said_and_the_run_goes_on(whole, tmp_path, capsys):
    job = replace(whole, folder=str(tmp_path / "run"), fail_drawing_at=3)
    assert carry_out(job) == 6
    assert "the validation of step 3 failed, and the run goes on: RuntimeError: CUDA out of memory" in (
        capsys.readouterr().out
    )
    first, second, last = lines(job)
    assert second == {"step": 3, "failed": "RuntimeError: CUDA out of memory"}
    assert [first, last] == [lines(whole)[0], lines(whole)[2]]
    assert losses(tmp_path / "run") == losses(Path(whole.folder))


@FORKED
def test_processes_share_the_drawing(whole, tmp_path, forker):
    job = replace(whole, folder=str(tmp_path / "run"), steps=1, validate_every=9)
    forker.ask("train_together", asdict(job), 3)
    assert lines(job)[0] == lines(whole)[0]
    assert [line["step"] for line in lines(job)] == [0, 1]


def test_a_configuration_draws_what_it_holds_out_and_measures_it(folder, tmp_path, capsys):
    models = (ROOT / ".models" / "checkpoints").as_posix()
    saved(tmp_path / "clip.safetensors", ours_model().state_dict())
    (tmp_path / "config.toml").write_text(f"""
        model = {{ checkpoint = "{models}/v1-5-pruned-emaonly-fp16.safetensors", clip_vision = "clip.safetensors" }}
        data = {{ folder = "{(folder / "pictures").as_posix()}", resolution = 64 }}
        training = {{ steps = 1, ema_decay = 0.9 }}
        validation = {{ held_out = 1, prompts = "a cat", steps = 1, encoder = "clip.safetensors" }}
        output = {{ folder = "out" }}
    """)
    config = read_config(tmp_path / "config.toml")
    assert run_config(config).step == 1
    assert "training starts: 3 pictures" in capsys.readouterr().out
    first, last = (json.loads(line) for line in (tmp_path / "out" / "validation.jsonl").read_text().splitlines())
    (shot,) = last["pictures"]
    assert (first["step"], last["step"], shot["prompt"]) == (0, 1, "a cat")
    assert {"clip_i", "clip_t", "clip_score"} <= last.keys() and "clip.safetensors" in last["measured_with"]
    curves = EventAccumulator(str(next((tmp_path / "out").glob("curves/**/events*")).parent)).Reload()
    assert [one.step for one in curves.Scalars("validation/clip_i")] == [0, 1]
    assert [one.step for one in curves.Images("validation")] == [0, 1]
    trained, drawn = (split_data(config, list_data(config)).trained, shot["reference"])
    assert len(trained) == 3 and drawn not in [entry.name for entry in trained]


def test_an_encoder_of_the_host_says_how_alike_two_pictures_are():
    judge = judge_with(encoder())
    one, other = torch.rand(2, 1, 70, 50, 3, generator=torch.Generator().manual_seed(1))
    embeds = [encode_image_prompt(encoder(), each, Fit.CROP).parts[0].positive.image_embeds for each in (one, other)]
    wanted = torch.nn.functional.cosine_similarity(*embeds).item()
    assert judge.against(one, ["a cat"])(other) == {"clip_i": pytest.approx(wanted)}
    assert judge.against(one, [])(one)["clip_i"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("validation", "sentence"),
    [
        ("held_out = 4", r"validation\.held_out is 4 of 4 pictures, which leaves none to train on"),
        ('references = "nowhere"', r"validation\.references '.*nowhere' is not a folder"),
        ('references = "bad"', r"validation\.references has 1 of 1 pictures that cannot be used \(a\.png: not a"),
        ('held_out = 1\nencoder = "no"', r"validation\.encoder '.*no' is not a file"),
    ],
)
def test_what_cannot_be_drawn_is_said_before_anything_is_encoded(validation, sentence, folder, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"none")
    (tmp_path / "config.toml").write_text(f"""
        model = {{ checkpoint = "nowhere.safetensors", clip_vision = "nowhere.safetensors" }}
        data = {{ folder = "{(folder / "pictures").as_posix()}" }}
        output = {{ folder = "out" }}
        [validation]
        {validation}
    """)
    with pytest.raises(IPAdapterError, match=sentence):
        run_config(read_config(tmp_path / "config.toml"))
    assert not list(tmp_path.rglob("*.safetensors"))
