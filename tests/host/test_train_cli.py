"""Training from the command line: killed, stopped, starved of disk, spread over two processes, and end to end."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ipadapter.adapters.checkpoint import checkpoint_header
from ipadapter.adapters.families import XLABS
from ipadapter.adapters.identify import identify
from ipadapter.commands.train.checkpoints import Checkpoints
from ipadapter.commands.train.command import main
from ipadapter.commands.train.config import read_config
from ipadapter.commands.train.room import checkpoints_bytes
from ipadapter.commands.train.start import fill_cache, list_data, plan_of, run_config
from ipadapter.commands.train.trackers import refuse_trackers
from ipadapter.errors import IPAdapterError
from ipadapter.files.headers import read_header
from tests.adapters import random_adapter
from tests.comfyui import ENVIRONMENT
from tests.host.forks import REFUSED, Forker
from tests.host.train_cli_world import Job, carry_out
from tests.host.train_every_division import DIVISIONS, STEPS, launched
from tests.naming import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerate")]

FORKED = pytest.mark.skipif(sys.platform != "linux", reason="forks processes that have loaded torch")
STAND_IN = ROOT / ".models" / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors"


def start(command: tuple[str, ...], timeout: int = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)


def succeed(command: tuple[str, ...]) -> str:
    done = start(command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Seven noisy pictures of several sizes with captions, two of them the same."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number in range(7):
        size = (48 + 4 * number, 40)
        noise = torch.randint(0, 255, (size[0] * size[1] * 3,), generator=torch.Generator().manual_seed(number))
        Image.frombytes("RGB", size, bytes(noise.tolist())).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a picture like {number % 5}")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(pictures, tmp_path_factory) -> Path:
    """Six steps in one go."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    carry_out(Job(str(pictures), str(folder)))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "ip-adapter.safetensors")


def losses(folder: Path) -> list[tuple[str, str]]:
    with (folder / "loss.csv").open() as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


def assert_same_bits(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert losses(one) == losses(other)


def steps_kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def carry_out_apart(job: Job, forker: Forker) -> dict:
    """How a run ended in a process of its own."""
    return forker.ask("train_cli_world", asdict(job))


@FORKED
def test_a_killed_run_goes_on_to_the_very_same_bits(pictures, uninterrupted, tmp_path, forker):
    job = Job(str(pictures), str(tmp_path / "run"), kill_in_save=4)
    assert carry_out_apart(job, forker)["code"] == -9
    assert steps_kept(tmp_path / "run") == ["step-000002", "step-000004.unfinished"]
    assert carry_out(replace(job, kill_in_save=0)) == 6
    assert_same_bits(tmp_path / "run", uninterrupted)
    assert steps_kept(tmp_path / "run") == ["step-000002", "step-000004", "step-000006"]


def test_an_adapter_for_flux_goes_on_to_the_very_same_bits(pictures, tmp_path):
    whole, stopped = (Job(str(pictures), str(tmp_path / name), steps=4, kind=XLABS.title) for name in ("one", "two"))
    for job in (whole, replace(stopped, steps=2), stopped):
        assert carry_out(job) == job.steps
    assert_same_bits(tmp_path / "one", tmp_path / "two")
    assert {key.split(".")[0] for key in weights(tmp_path / "one")} == {"double_blocks", "ip_adapter_proj_model"}


LATER = {"schedule": "cosine", "warmup_steps": 2, "min_snr": 5.0, "ema_decay": 0.9}


def test_schedule_weights_and_average_go_on_to_the_very_same_bits(pictures, tmp_path):
    whole, stopped = (Job(str(pictures), str(tmp_path / name), **LATER) for name in ("one", "two"))
    for job in (whole, replace(stopped, terminate_at=3), stopped):
        carry_out(job)
    assert_same_bits(tmp_path / "one", tmp_path / "two")
    one, two, last = (
        load_file(tmp_path / name)
        for name in ("one/ip-adapter-ema.safetensors", "two/ip-adapter-ema.safetensors", "one/ip-adapter.safetensors")
    )
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], last[key]) for key in one)
    assert not (tmp_path / "one" / "checkpoints" / "step-000006" / "ip-adapter-step-000004.safetensors").exists()
    with (tmp_path / "one" / "loss.csv").open() as file:
        rates = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    assert rates[0] == 0 and max(rates) == rates[2] == 1e-3 and rates[5] < rates[4] < rates[3]


def test_an_average_begins_where_a_run_without_one_goes_on(pictures, tmp_path):
    job = Job(str(pictures), str(tmp_path / "run"), steps=2)
    assert carry_out(job) == 2
    assert carry_out(replace(job, steps=3, ema_decay=0.9)) == 3
    average, last = (load_file(tmp_path / "run" / f"ip-adapter{name}.safetensors") for name in ("-ema", ""))
    assert all(torch.equal(average[key], last[key]) for key in last), "its first update takes the weights as they are"


@pytest.mark.parametrize(
    ("tracker", "sentence"),
    [
        ("tensorbord", "output.trackers names 'tensorbord', which accelerate does not know: there are aim, clearml, "),
        ("wandb", "output.trackers needs its package: pip install wandb, or leave 'wandb' out"),
    ],
)
def test_a_tracker_that_cannot_be_had_is_named(tracker, sentence):
    with pytest.raises(IPAdapterError, match=re.escape(sentence)):
        refuse_trackers([tracker])


def test_the_room_of_the_checkpoints_is_known_before(uninterrupted):
    path = uninterrupted / "ip-adapter.safetensors"
    spec = identify(checkpoint_header(read_header(path, path.name)))
    needed = checkpoints_bytes(spec, Checkpoints(uninterrupted / "none", keep=2))  # and one that is being written
    files = [path, *(uninterrupted / "checkpoints").rglob("*")]
    assert sum(file.stat().st_size for file in files if file.is_file()) == pytest.approx(needed, rel=0.1)
    assert checkpoints_bytes(spec, Checkpoints(uninterrupted / "checkpoints", keep=2)) == pytest.approx(needed * 5 / 13)


def test_a_terminated_run_saves_first_and_goes_on_to_the_very_same_bits(pictures, uninterrupted, tmp_path):
    job = Job(str(pictures), str(tmp_path / "run"), terminate_at=3)
    assert carry_out(job) == 3
    assert steps_kept(tmp_path / "run") == ["step-000002", "step-000003"]
    assert carry_out(replace(job, terminate_at=0)) == 6
    assert_same_bits(tmp_path / "run", uninterrupted)


@FORKED
def test_mixed_precision_computes_coarsely_and_learns_in_fp32(pictures, uninterrupted, tmp_path, forker):
    job = Job(str(pictures), str(tmp_path / "run"), mixed_precision="bf16")  # accelerate: one a process
    assert carry_out_apart(job, forker) == {"step": 6, "code": 0}
    mine, theirs = (dict(losses(folder)) for folder in (tmp_path / "run", uninterrupted))
    assert mine != theirs
    assert all(float(mine[step]) == pytest.approx(float(theirs[step]), rel=0.03) for step in theirs)
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values()} == {torch.float32}


@FORKED
def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(pictures, uninterrupted, tmp_path, forker):
    job = Job(str(pictures), str(tmp_path / "run"), file_limit_at=4)
    ended = carry_out_apart(job, forker)
    assert ended["code"] == REFUSED
    assert ended["sentence"].startswith("the checkpoint of step 4 could not be written")
    assert "the checkpoint of step 2 is unchanged" in ended["sentence"] and "\n" not in ended["sentence"]
    assert steps_kept(tmp_path / "run") == ["step-000002"]
    assert carry_out(replace(job, file_limit_at=0)) == 6
    assert_same_bits(tmp_path / "run", uninterrupted)


def test_a_loss_that_is_no_number_stops_with_the_last_good_weights(pictures, uninterrupted, tmp_path):
    with pytest.raises(IPAdapterError, match="training stopped at step 4.*They are in '.*step-000003'"):
        carry_out(Job(str(pictures), str(tmp_path / "run"), spoil_at=4, checkpoint_every=100))
    kept = load_file(tmp_path / "run" / "checkpoints" / "step-000003" / "ip-adapter-step-000003.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())
    assert losses(tmp_path / "run") == losses(uninterrupted)[:3]


def test_a_run_does_not_go_on_from_another_kind_of_adapter(pictures, tmp_path):
    job = Job(str(pictures), str(tmp_path / "run"), steps=2)
    carry_out(job)
    facts = tmp_path / "run" / "checkpoints" / "step-000002" / "training.json"
    facts.write_text(facts.read_text().replace('"tokens": 2', '"tokens": 4'))
    with pytest.raises(IPAdapterError, match="is of a run with tokens 4, but now tokens is 2"):
        carry_out(replace(job, steps=4))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.bin", "training.json"])
def test_a_checkpoint_that_is_damaged_is_named_and_the_one_before_is_gone_on_from(
    name, pictures, uninterrupted, tmp_path
):
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    newest = folder / "checkpoints" / "step-000006"
    (newest / name).write_bytes((newest / name).read_bytes()[:100])
    job = Job(str(pictures), str(folder))
    with pytest.raises(IPAdapterError, match="step-000006' is damaged .*: delete it, and the one before it") as refused:
        carry_out(job)
    assert "weights_only" not in str(refused.value)
    shutil.rmtree(newest)
    assert carry_out(job) == 6
    assert_same_bits(folder, uninterrupted)


@FORKED
def test_a_run_that_goes_on_divided_otherwise_is_the_run_that_was(pictures, tmp_path, forker):
    """The same examples a step, stopped at an odd one, for every pair of batch, accumulation and processes."""
    names = forker.ask("train_every_division", str(pictures), str(tmp_path / "runs"))
    assert len(names) == len(DIVISIONS) * (1 + len(DIVISIONS))
    for name in names[1:]:
        assert_same_run(tmp_path / "runs" / names[0], tmp_path / "runs" / name, STEPS, Job.learning_rate)


def assert_same_run(one: Path, other: Path, steps: int, learning_rate: float) -> None:
    """Within rounding. Adam moves every weight by about the learning rate a step, even where its gradient is all
    rounding: so the difference is measured over the whole tensor, against the length of so many steps."""
    mine, theirs = weights(one), weights(other)
    for key, tensor in mine.items():
        length = steps * learning_rate * tensor.numel() ** 0.5
        assert float((theirs[key] - tensor).norm()) < 1e-3 * length
    pairs = zip(losses(one), losses(other), strict=True)
    assert all(float(a) == pytest.approx(float(b), rel=1e-5) for (_, a), (_, b) in pairs)


@FORKED
def test_a_run_that_was_killed_before_its_last_file_writes_it(pictures, uninterrupted, tmp_path, forker):
    folder = tmp_path / "run"
    job = Job(str(pictures), str(folder), steps=4, kill_at_the_end=True)
    assert carry_out_apart(job, forker)["code"] == -9
    assert steps_kept(folder) == ["step-000002", "step-000004"] and not (folder / "ip-adapter.safetensors").exists()
    assert carry_out(replace(job, kill_at_the_end=False)) == 4
    assert load_file(folder / "ip-adapter.safetensors").keys() == weights(uninterrupted).keys()


@pytest.fixture(scope="module")
def every_write(pictures, tmp_path_factory, forker) -> list[dict]:
    """What the same command made of a run with three pictures that was ended at each of its writes."""
    folder = tmp_path_factory.mktemp("writes")
    for name in ("0", "1", "2"):
        for ending in (".png", ".txt"):
            (folder / "data").mkdir(exist_ok=True)
            shutil.copy((pictures / name).with_suffix(ending), folder / "data")
    return forker.ask("train_every_write", str(folder / "data"), str(folder / "runs"))


@FORKED
def test_killed_or_starved_at_any_write_the_same_command_finishes_the_job(every_write):
    """The cache, the losses, the checkpoints and the last file; what is left half written is cleared away."""
    whole, *others = every_write
    assert len([one for one in others if not one["first"]]) == len(whole["writes"]) > 40
    for one in others:
        assert one["again"]["code"] == 0, one
        assert (one["weights"], one["losses"]) == (whole["weights"], whole["losses"]), one["at"]
        left = {name for name in one["names"] if not is_part_of_cache(name)}
        assert left == set(whole["names"]), one["at"]


def is_part_of_cache(name: str) -> bool:
    """Removed once no other run can be writing it."""
    return name.startswith("cache/") and name.endswith(".part")


# The system's own, and what the writers of safetensors and torch make of it.
REASONS = ("No space left on device", "I/O error", "failed writing file")


@FORKED
def test_a_disk_that_is_full_at_any_write_is_a_sentence(every_write):
    starved = [one["first"] for one in every_write[1:] if one["first"]]
    assert len(starved) > 20
    for first in starved:
        assert first["code"] == REFUSED and "\n" not in first["sentence"], first
        assert any(reason in first["sentence"] for reason in REASONS), first


@FORKED
def test_two_processes_train_as_one_with_twice_the_batch(pictures, tmp_path, forker):
    one = Job(str(pictures), str(tmp_path / "one"), steps=4, batch_size=4, grad_accumulation=2)
    two = replace(one, folder=str(tmp_path / "two"), batch_size=2)
    carry_out(one)
    forker.ask("train_together", asdict(two), 2)
    assert_same_run(tmp_path / "one", tmp_path / "two", steps=4, learning_rate=one.learning_rate)
    facts = json.loads((tmp_path / "two" / "checkpoints" / "step-000004" / "training.json").read_text())
    assert facts["processes"] == 2


TOLD = "import json, os; print('told', json.dumps(dict(os.environ)))"


def test_forked_processes_are_told_what_the_launcher_tells():
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python")
    said = succeed((*launcher, sys.executable, "-S", "-c", TOLD)).splitlines()
    found = [json.loads(line.removeprefix("told ")) for line in said if line.startswith("told ")]
    for rank, told in enumerate(sorted(found, key=lambda each: each["RANK"])):
        mine = launched(rank, 2, told["MASTER_PORT"])
        address = told["MASTER_ADDR"]  # the machine's own, by another name
        assert mine | {"MASTER_ADDR": address} == {name: told[name] for name in mine}
    assert len(found) == 2


def small_encoder(path: Path) -> Path:
    """The smallest image tower of open_clip, random."""
    import open_clip
    from open_clip.model import _build_vision_tower

    config = json.loads((Path(open_clip.__file__).parent / "model_configs" / "ViT-S-32-alt.json").read_text())
    torch.manual_seed(0)
    with torch.inference_mode(False):
        tower = _build_vision_tower(config["embed_dim"], config["vision_cfg"], False)
    save_file({f"visual.{key}": tensor.half() for key, tensor in tower.state_dict().items()}, path)
    return path


def test_a_kind_for_another_model_is_refused_before_anything_is_encoded(pictures, tmp_path):
    (tmp_path / "config.toml").write_text(f"""
        model = {{ checkpoint = "{STAND_IN.as_posix()}", clip_vision = "{STAND_IN.as_posix()}", kind = "XLabs FLUX" }}
        data = {{ folder = "{pictures.as_posix()}" }}
        output = {{ folder = "out" }}
    """)
    sentence = (
        "kind is XLabs FLUX, which is for a FLUX.1 or .* but the model is SD1.5: set kind to base or plus, or use"
    )
    with pytest.raises(IPAdapterError, match=sentence):
        run_config(read_config(tmp_path / "config.toml"))
    assert not list(tmp_path.rglob("*.safetensors"))


OTHERWISE = (
    "batch_size = 1, grad_accumulation = 3, learning_rate = 0.0002, weight_decay = 0.1, drop_text = 0.2, "
    "drop_image = 0.3, drop_both = 0.1, seed = 5"
)


def test_a_configuration_trains_an_adapter_that_loads_here(pictures, tmp_path, capsys, monkeypatch):
    from ipadapter.host.adapters.adapter import load_adapter_file

    small_encoder(tmp_path / "ViT-S-32-alt.safetensors")
    config = f"""
        model = {{ checkpoint = "{STAND_IN.as_posix()}", clip_vision = "ViT-S-32-alt.safetensors" }}
        data = {{ folder = "{pictures.as_posix()}", resolution = 64 }}
        training = {{ steps = 2, batch_size = 2 }}
        output = {{ folder = "out", checkpoint_every = 1, keep = 1, log_every = 1 }}
    """
    (tmp_path / "config.toml").write_text(config)
    command = (sys.executable, "-m", "ipadapter.train", str(tmp_path / "config.toml"))
    out = succeed(command)
    assert "training starts: 7 pictures, 2 steps in all." in out and "done: 2 steps" in out
    assert steps_kept(tmp_path / "out") == ["step-000002"]
    assert list((tmp_path / "out" / "curves").glob("events.out.tfevents.*"))
    adapter = load_adapter_file(tmp_path / "out" / "ip-adapter.safetensors", "trained")
    assert str(adapter.spec) == "base adapter for SD1.5, 16 layers, tokens: 4"
    assert (adapter.provenance.encoder, adapter.provenance.steps) == ("ViT-S-32-alt", 2)
    assert main([str(tmp_path / "config.toml")]) == 1
    assert "all is done; raise training.steps" in capsys.readouterr().err
    with monkeypatch.context() as changed:
        changed.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=10**6))
        (tmp_path / "config.toml").write_text(config.replace("steps = 2", "steps = 3"))
        assert main([str(tmp_path / "config.toml")]) == 1
        assert re.search(r"about \d+\.\d GB to the disk of '.*out', where 1\.0 MB are free", capsys.readouterr().err)
        (tmp_path / "config.toml").write_text(config)
    (tmp_path / "out" / "ip-adapter.safetensors").unlink()  # as one that was killed before it leaves it
    capsys.readouterr()
    (tmp_path / "config.toml").write_text(config.replace("batch_size = 2", OTHERWISE).replace("= 64", "= 128"))
    assert main([str(tmp_path / "config.toml")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "goes on from step 2 (changed: " in line]
    assert all(f"{name} " in line for name in (*re.findall(r"(\w+) =", OTHERWISE), "resolution", "data and encoders"))
    assert load_adapter_file(tmp_path / "out" / "ip-adapter.safetensors", "again").provenance.steps == 2


@pytest.mark.parametrize(
    ("model", "output", "sentence"),
    [
        ("", "config.toml", r"output\.folder '.*config\.toml' cannot be made \(it is a file\)"),
        ('init_from = "nowhere.safetensors"', "out", "'nowhere.safetensors'"),
        (
            'init_from = "plus.safetensors"',
            "out",
            r"model\.init_from '.*' is a plus .* model\.kind is base",
        ),
        (
            'init_from = "base.safetensors"\ntokens = 3',
            "out",
            r"with 4 tokens, but .* model\.tokens 3",
        ),
    ],
    ids=["a file as folder", "no adapter", "another kind", "other tokens"],
)
def test_what_cannot_work_is_said_before_anything_is_encoded(model, output, sentence, pictures, tmp_path):
    for family, sizes in {"base": {}, "plus": {"dim": 64, "inner": 64, "depth": 1}}.items():
        save_file(random_adapter(family, (8, 16, 8), 64, **sizes).flat(), tmp_path / f"{family}.safetensors")
    config = f"""
        [model]
        checkpoint = "nowhere.safetensors"
        clip_vision = "nowhere.safetensors"
        {model}
        [data]
        folder = "{pictures.as_posix()}"
        [output]
        folder = "{output}"
    """
    path = tmp_path / "config.toml"
    path.write_text(config)
    with pytest.raises(IPAdapterError, match=sentence):
        run_config(read_config(path))
    assert not list(tmp_path.rglob("cache"))


def test_weights_that_the_base_knows_nothing_of_are_refused_before_anything_is_encoded(pictures, tmp_path):
    models = (ROOT / ".models").as_posix()
    path = tmp_path / "config.toml"
    path.write_text(f"""
        [model]
        unet = "{models}/diffusion_models/flux1-dev.safetensors"
        clip = "{models}/text_encoders/clip_l.safetensors"
        vae = "{models}/vae/ae.safetensors"
        clip_vision = "{models}/clip_vision/clip-vit-large-patch14.safetensors"
        kind = "XLabs FLUX"
        [data]
        folder = "{pictures.as_posix()}"
        [training]
        min_snr = 5.0
        [output]
        folder = "out"
    """)
    config = read_config(path)
    with pytest.raises(IPAdapterError, match=r"min_snr is 5, but this model predicts the flow"):
        fill_cache(config, plan_of(config, list_data(config)), None, None, None)
    assert not list(tmp_path.rglob("*.safetensors"))
