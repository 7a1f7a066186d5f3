"""Where users keep their files: the host's model folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import folder_paths

from ..errors import IPAdapterError, refusal
from ..files.opening import refuse_name
from ..library.beginning import what_to_get

HOST_ADAPTERS = "ipadapter"
HOST_ENCODERS = "clip_vision"
HOST_LORAS = "loras"
IF_EMPTY = {HOST_ADAPTERS: f"the folder is empty; {what_to_get()}"}  # what to do about it
WEIGHT_ENDINGS = {".safetensors", ".sft", ".bin", ".pt", ".pth", ".ckpt"}


def register_adapter_folder() -> None:
    """Make `models/ipadapter` known beside what `extra_model_paths.yaml` has named, listing weights only.

    `output/ipadapter` too, where trained adapters are saved, as the host does for the LoRAs it trains.
    """
    for parent in (folder_paths.models_dir, folder_paths.get_output_directory()):
        folder_paths.add_model_folder_path(HOST_ADAPTERS, str(Path(parent) / HOST_ADAPTERS))
    paths, _ = folder_paths.folder_names_and_paths[HOST_ADAPTERS]
    folder_paths.folder_names_and_paths[HOST_ADAPTERS] = (paths, set(WEIGHT_ENDINGS))


def file_names(folder: str) -> list[str]:
    """Files of a model folder as the host lists them, sub-folders included.

    The host keeps its list until a folder in it has changed, and does not expect that one is gone, as those of trained
    adapters may be.
    """
    names: list[str]
    try:
        names = folder_paths.get_filename_list(folder)
    except FileNotFoundError:
        folder_paths.filename_list_cache.pop(folder, None)
        names = folder_paths.get_filename_list(folder)
    return names


def searched(folder: str) -> list[str]:
    """Where a model folder is on this machine, each place once."""
    return list(dict.fromkeys(folder_paths.get_folder_paths(folder)))


def find_file(folder: str, name: str) -> Path:
    """The path of a listed file. Raises IPAdapterError naming the folders that were searched."""
    refuse_name(name)
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        folders = ", ".join(searched(folder))
        raise IPAdapterError(
            f"'{name}' is not in the model folder '{folder}' (searched: {folders}): {missing_file_advice(folder)}"
        )
    return Path(path)


def given_file(name: str) -> Path | None:
    """A file as the host's nodes name those in its input folder, or, marked so, in its output or temporary one. None
    where it is not there, or outside that folder, which versions before 0.27 do not ask."""
    plain, marked = folder_paths.annotated_filepath(name)
    folder = Path(os.path.abspath(marked or folder_paths.get_input_directory()))
    path = Path(os.path.abspath(folder / plain))
    return path if path.is_relative_to(folder) and os.path.isfile(path) else None  # pathlib's raises for a long name


def missing_file(folder: str, name: str) -> str | None:
    """The sentence for a file that a graph names and nobody has, or None where it is there."""
    return refusal(lambda: find_file(folder, name))


def file_fingerprint(folder: str, name: str | None) -> str:
    """Another text whenever a file is replaced under its name; none without a file."""
    return "" if name is None else fingerprint_of(lambda: [find_file(folder, name)])


def fingerprint_of(find: Callable[[], Iterable[Path]]) -> str:
    """Size and time of some files; none where they are not found."""
    try:
        states = [path.stat() for path in find()]
    except (IPAdapterError, OSError):
        return ""
    return " ".join(f"{state.st_size} {state.st_mtime_ns}" for state in states)


def missing_file_advice(folder: str) -> str:
    """What to do about a missing file."""
    there = file_names(folder)
    if not there:
        return IF_EMPTY.get(folder, "the folder is empty; put the file there and press R to refresh.")
    return f"choose one of {', '.join(there[:6])}{' …' if len(there) > 6 else ''}, or put the file there and press R."


def nothing_to_find() -> str | None:
    """The sentence for a machine without any adapter, or None where there is one."""
    if file_names(HOST_ADAPTERS):
        return None
    folders = ", ".join(searched(HOST_ADAPTERS))
    return f"The model folder '{HOST_ADAPTERS}' is empty (searched: {folders}): {what_to_get()}"


def next_path(prefix: str) -> Path:
    """`<prefix>_00001_.safetensors` in the output folder, or the next number."""
    refuse_name(prefix)
    try:
        folder, name, counter, *_ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    except OSError as error:
        raise IPAdapterError(f"'{prefix}' cannot be saved in the output folder: {error.strerror or error}.") from error
    except Exception as error:  # the host raises a plain Exception for a prefix that leaves the output folder
        raise IPAdapterError(
            f"filename_prefix '{prefix}' is outside the output folder: use a name such as ipadapter/mine."
        ) from error
    return Path(folder) / f"{name}_{counter:05}_.safetensors"
