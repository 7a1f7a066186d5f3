"""A training run on a very small real UNet, which tests stop, spoil and go on with, kill and starve of disk."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from ipadapter.adapters.families import BASE, FACE_ID_PLUS, XLABS, trainable
from ipadapter.adapters.features import Read
from ipadapter.adapters.provenance import Provenance
from ipadapter.commands.train.encoding import Plan, Settings, fill, make_plan
from ipadapter.commands.train.examples import context_only, open_set
from ipadapter.commands.train.listing import list_folder
from ipadapter.commands.train.references import CachedStudio, shots_of, with_prompts
from ipadapter.commands.train.run import TrainingRun, WritingSchedule, make_accelerator, train_run
from ipadapter.commands.train.stopping import Stop
from ipadapter.commands.train.validation import Validation
from ipadapter.evaluation.judges import Measuring
from ipadapter.evaluation.metrics import cosine
from ipadapter.prompts.prompt import FACE_WIDTH
from ipadapter.training.fresh import new_adapter, new_spec
from ipadapter.training.module import AdapterTraining, FrozenModel
from ipadapter.training.recipe import Recipe
from tests.host.forks import Fork

WIDTH, CONTEXT = 24, 64  # of an encoded picture, and of a text
POOLED = 16  # of a text that FLUX reads
UNET = dict(
    image_size=32,
    in_channels=4,
    out_channels=4,
    model_channels=32,
    num_res_blocks=[1],
    channel_mult=[1],
    transformer_depth=[1],
    transformer_depth_output=[1, 1],
    transformer_depth_middle=1,
    context_dim=CONTEXT,
    use_spatial_transformer=True,
    num_heads=4,
    legacy=False,
)
TINY_FLUX = dict(
    image_model="flux",
    in_channels=16,
    out_channels=16,
    patch_size=2,
    vec_in_dim=POOLED,
    context_in_dim=CONTEXT,
    hidden_size=32,
    mlp_ratio=4.0,
    num_heads=2,
    depth=1,
    depth_single_blocks=1,
    axes_dim=[4, 6, 6],
    theta=10000,
    qkv_bias=True,
    txt_ids_dims=[],
    guidance_embed=True,
)


@dataclass(frozen=True)
class Job:
    """What the process is to do, and what is to happen to it."""

    data: str
    folder: str
    steps: int = 6
    batch_size: int = 1
    grad_accumulation: int = 1
    checkpoint_every: int = 2
    keep: int = 3
    learning_rate: float = 1e-3
    mixed_precision: str = "no"
    tensorboard: bool = False
    kind: str = BASE.title
    schedule: str = "constant"
    warmup_steps: int = 0
    min_snr: float = 0.0
    ema_decay: float = 0.0
    buckets: bool = False
    references: str = ""  # a folder of what is drawn as the run goes on
    validate_every: int = 3
    fail_drawing_at: int = -1  # at this step drawing fails
    kill_drawing_at: int = -1  # at this step, SIGKILL once a picture is drawn
    kill_in_save: int = 0  # at this step, once the state is written and the checkpoint has not its name yet
    terminate_at: int = 0  # at this step, SIGTERM
    kill_at_the_end: bool = False  # once the last checkpoint is there, before the last file
    file_limit_at: int = 0  # from this step on, files longer than 20 kB cannot be written
    spoil_at: int = 0  # at this step the latents are not numbers


class SmallEncoders:
    """Encoders of the cache without weights: averages of the picture, and a text's own random numbers."""

    def latents(self, pixels: Tensor) -> Tensor:
        grey = pixels.mean(-1, keepdim=True)
        planes = torch.cat([pixels, grey], dim=-1).movedim(-1, 1) - 0.5  # (N, 4, R, R)
        return torch.nn.functional.avg_pool2d(planes, 8)

    def features(self, pictures: Sequence[Tensor]) -> Read:
        averages = [adaptive_avg_pool2d(picture[0].movedim(-1, 0), (2, 4)).flatten() for picture in pictures]
        return (torch.stack(averages),)  # (N, 24)

    def no_picture(self) -> Read:
        return (torch.zeros(1, WIDTH),)

    def text(self, caption: str) -> tuple[Tensor, Tensor | None]:
        generator = torch.Generator().manual_seed(sum(caption.encode()))
        return torch.randn(5, CONTEXT, generator=generator), None


class FaceEncoders(SmallEncoders):
    """The same for FaceID Plus: of a face numbers of its own, and the averages as two hidden states."""

    def features(self, pictures: Sequence[Tensor]) -> Read:
        (averages,) = super().features(pictures)
        faces = torch.randn(WIDTH, FACE_WIDTH, generator=torch.Generator().manual_seed(3))
        return normalize(averages @ faces, dim=-1), torch.stack([averages, 1 - averages], dim=1)  # (N, 512), (N, 2, 24)

    def no_picture(self) -> Read:
        return torch.zeros(1, FACE_WIDTH), torch.zeros(1, 2, WIDTH)


class FluxEncoders(SmallEncoders):
    """The same for FLUX: sixteen channels, and a text in two parts."""

    def latents(self, pixels: Tensor) -> Tensor:
        return super().latents(pixels).repeat(1, 4, 1, 1)

    def text(self, caption: str) -> tuple[Tensor, Tensor | None]:
        context, _ = super().text(caption)
        return context, context[0, :POOLED]


ENCODERS = {XLABS: FluxEncoders, FACE_ID_PLUS: FaceEncoders}
SQUARE, SHAPES = Settings(32, torch.float32, 3, 2), Settings(128, torch.float32, 3, 2, buckets=True)


def small_plan(data: Path, cache: Path, settings: Settings = SQUARE, prompts: Sequence[str] | None = None) -> Plan:
    """The plan of a folder of pictures for these encoders; each with each prompt where there are any."""
    listed = list_folder(data, "txt")
    entries = listed if prompts is None else with_prompts(listed, prompts)
    return make_plan(entries, ("small",), settings, cache)


class SmallJudge:
    """Says how alike two pictures are by their encoded averages."""

    label = "averages"

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        wanted = SmallEncoders().features([image])[0]
        return lambda picture: {"clip_i": cosine(SmallEncoders().features([picture])[0], wanted).item()}


@dataclass(frozen=True)
class TroubledStudio(CachedStudio):
    """A studio to which what the job says happens."""

    job: Job
    step: Callable[[], int]

    def picture(self, latents: Tensor) -> Image.Image:
        if self.step() == self.job.fail_drawing_at:
            raise RuntimeError("CUDA out of memory\nand more")
        if self.step() == self.job.kill_drawing_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().picture(latents)


def decoded(latents: Tensor) -> Tensor:
    """Three channels of the latents as a picture. They are large, and differ little: what is behind the point shows."""
    return torch.nn.functional.interpolate(latents[:, :3].float() % 1, scale_factor=8).movedim(1, -1)


def small_validation(job: Job, plan: Plan, frozen: FrozenModel, told: Any, step: Callable[[], int]) -> Validation:
    """Two steps of the host's own sampler for each of two seeds of every reference."""
    from ipadapter.host.training.drawing import HostStudio, Sampling

    studio = TroubledStudio(
        HostStudio(frozen, told, decoded, Sampling(2)), open_set(plan, told), plan.entries, job, step
    )
    shots = shots_of(plan.entries, [0, 1])
    return Validation(job.validate_every, shots, studio, SmallJudge(), Path(job.folder))


class TroubledRun(TrainingRun):
    """A run to which what the job says happens."""

    job: Job

    def one_step(self, stop: Stop) -> tuple[float, bool]:
        if self.step + 1 == self.job.terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if self.step + 1 == self.job.spoil_at:
            self.plain.adapter.image_proj.proj.bias.register_hook(lambda gradient: gradient * float("nan"))
        return super().one_step(stop)

    def save(self):  # type: ignore[no-untyped-def]
        if self.step == self.job.file_limit_at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        return super().save()

    def write_file(self, path: Path) -> Path:
        if self.step == self.job.kill_in_save or (self.job.kill_at_the_end and path.parent == self.schedule.folder):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write_file(path)


def base_model(device: str = "cpu", kind: str = BASE.title):  # type: ignore[no-untyped-def]
    """A random model of the host's class."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    unet = (comfy.supported_models.SD15(dict(UNET)), comfy.model_base.BaseModel)
    config, made = {
        XLABS.title: (comfy.supported_models.Flux(dict(TINY_FLUX)), comfy.model_base.Flux),
    }.get(kind, unet)
    config.set_inference_dtype(torch.float32, None)
    torch.manual_seed(5)
    model = made(config, device=device)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    place = torch.device(device)
    return comfy.model_patcher.CoreModelPatcher(model.eval().requires_grad_(False), place, place)


@cache
def base_on_the_cpu(kind: str):  # type: ignore[no-untyped-def]
    """The same, made once: no run changes it, and forked processes have that of the one they are forked from."""
    return base_model(kind=kind)


def recipe_of(job: Job) -> Recipe:
    """With two tokens."""
    return Recipe(
        trainable(job.kind),
        2,
        job.steps,
        job.batch_size,
        job.grad_accumulation,
        job.learning_rate,
        schedule=job.schedule,
        warmup_steps=job.warmup_steps,
        min_snr=job.min_snr,
    )


@torch.inference_mode(False)
def carry_out(job: Job) -> int:
    """The run; the step it ended at."""
    from ipadapter.host.launch import start_host

    torch.set_num_threads(1)
    kind, recipe, folder = trainable(job.kind), recipe_of(job), Path(job.folder)
    accelerator = make_accelerator(
        job.mixed_precision, recipe, folder, cpu=True, trackers=["tensorboard"] * job.tensorboard
    )
    start_host(["--cpu", "--use-pytorch-cross-attention"])  # as the tests have it
    from ipadapter.host.training.frozen import frozen_unet, trainable_layers
    from ipadapter.host.training.models import HostText

    with ExitStack() as stack:
        stop = stack.enter_context(Stop().listening())
        plan = small_plan(Path(job.data), folder / "cache", SHAPES if job.buckets else SQUARE)
        drawn = small_plan(Path(job.references), folder / "cache", prompts=["", "a cat"]) if job.references else None
        if accelerator.is_main_process:
            for one in (plan, drawn):
                if one is not None:
                    fill(one, ENCODERS.get(kind, SmallEncoders)())
        accelerator.wait_for_everyone()
        model = base_on_the_cpu(job.kind)
        frozen = stack.enter_context(frozen_unet(model, torch.float32, False, kind))
        spec = new_spec("small", kind, recipe.token_count, WIDTH, trainable_layers(model, kind))
        training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), 0), frozen, job.min_snr)
        schedule = WritingSchedule(folder, job.checkpoint_every, job.keep, 1)
        told = HostText(model, 32) if kind is XLABS or job.buckets else context_only
        data = open_set(plan, told)
        about = Provenance("small")
        run = TroubledRun(accelerator, training, data, recipe, schedule, about, None, job.ema_decay, None, data.buckets)
        run.job = job
        if drawn is not None:
            run.validation = small_validation(job, drawn, frozen, HostText(model, 32), lambda: run.step)
        run.resume()
        run.open_trackers()
        ended = train_run(run, stop, quiet=True)
        accelerator.end_training()
        return ended.step


def asked(job: dict[str, Any]) -> dict[str, Any]:
    """How a run ended in a forked process."""
    base_on_the_cpu(job["kind"])
    return Fork.doing(lambda: {"step": carry_out(Job(**job))}).end()
