"""From a configuration to a run: list the data, fill the cache, open the models, train."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...adapters.checkpoint import checkpoint_header
from ...adapters.identify import identify
from ...adapters.provenance import Provenance
from ...adapters.spec import AdapterSpec
from ...errors import IPAdapterError
from ...evaluation.judges import ClipJudge, Judge
from ...files.headers import read_header
from ...files.replacing import write_whole
from ...training.module import AdapterTraining
from ...training.objective import refuse_min_snr
from .cache import file_stamp
from .config import DTYPE_OF, Config
from .encoding import ChunkShare, Plan, Settings, fill, kept, make_plan, skipped
from .examples import CachedSet, open_set
from .listing import Entry, complete, list_folder, list_shards
from .references import CachedStudio, shots_of, split_data
from .room import cache_bytes, checkpoints_bytes, refuse_little_room
from .run import RunOutcome, TrainingRun, WritingSchedule, make_accelerator, train_run
from .stopping import Stop
from .validation import Validation


def run_config(config: Config) -> RunOutcome:
    """A whole run, or what is left of it. Raises IPAdapterError for everything a user can put right."""
    from ...host.launch import on_cpu, start_host

    listed = split_data(config, list_data(config))
    make_folder(config.output.folder)
    start = spec_of_start(config)
    refuse_no_judge(config)
    accelerator = make_accelerator(
        config.training.mixed_precision,
        config.recipe,
        config.output.folder,
        on_cpu(config.host.options),
        config.output.all_trackers,
    )
    start_host(config.host.options, config.host.path)
    with Stop().listening() as stop:
        plan, drawn = plan_of(config, listed.trained), plan_of_drawn(config, listed.drawn)
        fill_cache(config, plan, accelerator, stop, start, drawn)
        with open_run(config, plan, accelerator, drawn) as run:
            return train_run(run, stop)


def make_folder(folder: Path) -> None:
    """Where the run writes. Raises IPAdapterError where there can be no folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise IPAdapterError(f"output.folder '{folder}' cannot be made ({reason}): name another one.") from error


def spec_of_start(config: Config) -> AdapterSpec | None:
    """What the adapter to go on from is, by its tensors' sizes: known before anything is encoded.

    Raises IPAdapterError, in the words of the configuration, for one that cannot be gone on from.
    """
    path, recipe = config.model.init_from, config.recipe
    if path is None:
        return None
    spec = identify(checkpoint_header(read_header(path, path.name)))
    recipe.refuse_other_kind(spec, f"model.init_from '{path}'", "model.", "leave init_from out")
    return spec


def refuse_start_of_other_encoder(spec: AdapterSpec, width: int, config: Config) -> None:
    """The adapter to go on from reads what the encoder gives, so wide."""
    needed = spec.projection.feature_dim
    if width != needed:
        raise IPAdapterError(
            f"model.init_from '{config.model.init_from}' reads {spec.feature.value} {needed} wide, but "
            f"model.clip_vision '{config.model.clip_vision}' gives {width}: name {spec.encoder}."
        )


def list_data(config: Config) -> list[Entry]:
    """Every picture with its caption."""
    data = config.data
    empty = data.missing_captions == "empty"
    if data.folder is not None:
        hint = f"Write one beside each, as in picture.{data.caption_extension.lstrip('.')} for picture.png"
        return complete(list_folder(data.folder, data.caption_extension), empty, hint)
    hint = f"Give each example a member that ends in .{data.caption_extension.lstrip('.')}"
    return complete(list_shards(data.shards, data.caption_extension), empty, hint)


def files_of(config: Config) -> Any:
    """The model files, as the host's side takes them."""
    from ...host.training.models import ModelFiles

    model = config.model
    pack = face_pack(config)
    return ModelFiles(model.clip_vision, model.checkpoint, model.unet, tuple(model.clip), model.vae, pack)


def face_pack(config: Config) -> str | None:
    """The InsightFace pack that faces are read with; None where no faces are, or their embeddings are in files."""
    return config.model.insightface if config.model.reads_faces and not config.data.face_embeddings else None


def plan_of(config: Config, entries: list[Entry]) -> Plan:
    """Where the encoded data is, or will be."""
    return plan_with(config, entries, config.settings)


def plan_of_drawn(config: Config, drawn: list[Entry]) -> Plan | None:
    """The same of what is drawn while training. All of it can be read, but not everybody has a face."""
    skip = config.settings.skip_bad and config.model.reads_faces
    settings = replace(config.settings, skip_bad=skip, alpha_is_mask=False, buckets=False)
    return plan_with(config, drawn, settings) if drawn else None


def plan_with(config: Config, entries: list[Entry], settings: Settings) -> Plan:
    """A plan for the run's encoders."""
    stamps = [file_stamp(path) for path in files_of(config).of_encoders]
    made_with = (config.model.kind, *config.host.options, *stamps)  # options decide precisions and attentions
    pack = face_pack(config)
    if pack is not None:
        made_with = (*made_with, pack_stamp(pack))
    return make_plan(entries, made_with, settings, config.cache_folder)


def pack_stamp(name: str) -> str:
    """Tells an InsightFace pack from another. Raises IPAdapterError where it is not there."""
    from ...host.faces.models import find_pack, pack_fingerprint, register_face_folder

    register_face_folder()
    find_pack(name)
    return pack_fingerprint(name)


def fill_cache(
    config: Config, plan: Plan, accelerator: Any, stop: Stop, start: AdapterSpec | None, drawn: Plan | None = None
) -> None:
    """Encode what has not been, each process a part of it. The encoders are not even opened where all is done.

    Raises IPAdapterError before that where the adapter to go on from fits neither the base nor the encoder, where the
    base knows no min-SNR weights, and where there is no room for what will be written.
    """
    from ...host.training import models as models
    from ...host.training import node as graph
    from ...host.training.frozen import prediction_of, trainable_layers

    plans = [one for one in (plan, drawn) if one is not None]
    if not all(one.complete for one in plans):
        files, kind = files_of(config), config.recipe.kind
        base = models.open_base(files)
        layers = trainable_layers(base, kind)
        refuse_min_snr(prediction_of(base), config.recipe.min_snr)
        if start is not None:
            graph.refuse_other_base(start, base)
        encoders = models.open_encoders(files, base, kind)
        width = encoders.no_picture()[-1].shape[-1]
        if start is not None:
            refuse_start_of_other_encoder(start, width, config)
        spec = start or graph.spec_for(config.recipe, width, layers, None)
        caches = {one.cache.folder: cache_bytes(one, encoders) for one in plans}
        refuse_little_room({**caches, **for_checkpoints(config, spec)})
        part = ChunkShare(accelerator.process_index, accelerator.num_processes)
        for one in plans:
            fill(one, encoders, part, lambda label, items: bar(label, items, stop, accelerator.is_main_process))
        del base, encoders
        models.release()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        note_skipped(config, plans)
    if drawn is not None and not kept(drawn):
        raise IPAdapterError(
            f"validation has {len(drawn.entries)} pictures to draw, and all of them are left out for want of a face: "
            "name others in validation.references, or hold more out."
        )


def bar(label: str, chunks: Sequence[Any], stop: Stop, shown: bool) -> Iterable[Any]:
    """Chunks with a progress bar; none after the user has asked for an end."""
    from tqdm import tqdm

    for chunk in tqdm(chunks, desc=label, unit="chunk", disable=not shown or not chunks):
        if stop.asked:
            raise KeyboardInterrupt
        yield chunk


def note_skipped(config: Config, plans: Sequence[Plan]) -> None:
    """Write down which pictures are not trained on, or not drawn, and why."""
    left_out = {name: why for plan in plans for name, why in skipped(plan)}
    lines, path = [f"{name}\t{why}\n" for name, why in left_out.items()], config.output.folder / "skipped.txt"
    if lines:
        write_whole(path, "".join(lines).encode())
    else:
        path.unlink(missing_ok=True)  # an earlier run's


@contextmanager
def open_run(config: Config, plan: Plan, accelerator: Any, drawn: Plan | None = None) -> Iterator[TrainingRun]:
    """The run, at the step it goes on from."""
    from ...host.adapters.adapter import load_adapter_file
    from ...host.training import node as graph
    from ...host.training.frozen import frozen_unet, trainable_layers
    from ...host.training.models import HostText, open_base

    recipe, model = config.recipe, open_base(files_of(config))
    path = config.model.init_from
    start = None if path is None else load_adapter_file(path, path.name)
    if start is not None:
        graph.refuse_other_base(start.spec, model)
    data = open_set(plan, HostText(model, config.data.resolution))
    if start is not None:
        refuse_start_of_other_encoder(start.spec, data.width, config)
    spec = graph.spec_for(recipe, data.width, trainable_layers(model, recipe.kind), start)
    refuse_little_room(for_checkpoints(config, spec))
    about = Provenance(config.reader, start.provenance.steps if start else 0, config.output.license)
    precision = DTYPE_OF[config.training.mixed_precision]
    with frozen_unet(model, precision, config.training.gradient_checkpointing, recipe.kind) as frozen:
        training = AdapterTraining(graph.first_adapter(spec, frozen, recipe, start), frozen, recipe.min_snr)
        run = TrainingRun(
            accelerator,
            training,
            data,
            recipe,
            writing_schedule(config),
            about,
            settings_of(config, plan),
            config.training.ema_decay,
            None if drawn is None else open_validation(config, drawn, frozen, model),
            data.buckets,
        )
        begin(run, data, plan, drawn)
        yield run
        accelerator.end_training()


def open_validation(config: Config, drawn: Plan, frozen: Any, model: Any) -> Validation:
    """What is drawn as the run goes on, and who measures it."""
    from ...host.training.drawing import HostStudio, Sampling
    from ...host.training.models import HostText, open_decoder

    settings, told = config.validation, HostText(model, config.data.resolution)
    sampling = Sampling(settings.steps, weight=settings.weight, guidance=settings.guidance)
    host = HostStudio(frozen, told, open_decoder(files_of(config)).decode, sampling)
    entries = kept(drawn)
    studio = CachedStudio(host, open_set(drawn, told), entries)
    shots = shots_of(entries, settings.seeds)
    return Validation(settings.every, shots, studio, open_judge(config), config.output.folder)


def refuse_no_judge(config: Config) -> None:
    """Refuse a file that is not there, before anything is encoded."""
    path = config.validation.encoder
    if path is not None and not path.is_file():
        raise IPAdapterError(f"validation.encoder '{path}' is not a file: name one with both towers of a CLIP.")


def open_judge(config: Config) -> Judge | None:
    """The encoder that is named to measure with, or the run's own where it gives embeddings of pictures."""
    from ...encoders.two_towers import open_tokenizer, open_towers
    from ...host.evaluation.judging import LoadedJudge, judge_with
    from ...host.training.models import open_image_encoder

    path = config.validation.encoder
    if path is None:
        seen = config.model.clip_vision
        return None if seen is None else judge_with(open_image_encoder(seen))
    encoder = open_towers(path, path.name)
    open_tokenizer(encoder)  # it refuses here what has no text tower
    return LoadedJudge(ClipJudge(encoder))


def settings_of(config: Config, plan: Plan) -> dict[str, Any]:
    """What decides a run's numbers besides its recipe."""
    return {
        "resolution": config.data.resolution,
        "buckets": config.data.buckets,
        "mixed_precision": config.training.mixed_precision,
        "init_from": None if config.model.init_from is None else config.model.init_from.name,
        "data and encoders": plan.cache.folder.name,
    }


def for_checkpoints(config: Config, spec: AdapterSpec) -> dict[Path, int]:
    """The room that they need."""
    checkpoints = writing_schedule(config).checkpoints
    return {config.output.folder: checkpoints_bytes(spec, checkpoints, int(config.training.ema_decay > 0))}


def writing_schedule(config: Config) -> WritingSchedule:
    """When what is written."""
    output = config.output
    return WritingSchedule(output.folder, output.checkpoint_every, output.keep, output.log_every, output.project)


def begin(run: TrainingRun, data: CachedSet, plan: Plan, drawn: Plan | None) -> None:
    """Go on from the newest checkpoint, tell so, and open the curves at its step."""
    changed = run.resume()
    if run.step >= run.recipe.steps and run.saved is not None and run.is_written:
        raise IPAdapterError(
            f"'{run.saved.folder}' is at step {run.step} and training.steps is {run.recipe.steps}: all is done; raise "
            "training.steps to go on."
        )
    run.open_trackers()
    origin = f"goes on from step {run.step}" if run.saved else "starts"
    since = f" (changed: {', '.join(changed)})" if changed else ""
    skipped = left_out(plan, drawn)
    run.accelerator.print(f"training {origin}{since}: {len(data)} pictures{skipped}, {run.recipe.steps} steps in all.")


def left_out(plan: Plan, drawn: Plan | None) -> str:
    """How many pictures are, behind what is there."""
    learned, seen = (len(dict(skipped(one))) if one else 0 for one in (plan, drawn))
    told = [f"{learned} left out"] * bool(learned) + [f"{seen} of those to draw left out"] * bool(seen)
    return f", {', '.join(told)}, named in skipped.txt" if told else ""
