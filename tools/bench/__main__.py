"""The command: `python -m tools.bench --device cpu|cuda --only TABLE --peer PATH --json OUT`, TABLE one of TABLES."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from tools.bench.host import BenchError, import_pack, import_peer, start_host
from tools.bench.report import Report, Setting, Table, to_json
from tools.environment import LAYOUT

if TYPE_CHECKING:
    from tools.bench.flux_packs import FluxPack
    from tools.bench.packs import Pack
    from tools.bench.sd35_packs import SD35Pack

# Threads wait for each other after every operation, and for whatever other program has their core meanwhile.
THREADS = 1


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description="What an image prompt costs.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run (default: cpu)")
    parser.add_argument("--only", choices=tuple(TABLES), help="measure this alone (default: all)")
    parser.add_argument(
        "--peer",
        type=Path,
        nargs="+",
        default=(),
        metavar="PATH",
        help="checkouts to compare with: ComfyUI_IPAdapter_plus, x-flux-comfyui, ComfyUI-IPAdapter-Flux, "
        "ComfyUI-InstantX-IPAdapter-SD3",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file too")
    return parser.parse_args(arguments)


def refuse_missing(device: str, only: str | None) -> None:
    """Raise BenchError for a device that this machine or this torch does not have, or that has nothing to measure."""
    if device == "cpu" and only == "compiled":
        raise BenchError("--only compiled measures on a graphics card alone: use --device cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise BenchError(
            f"--device cuda needs a CUDA device, and torch {torch.__version__} finds none: use --device cpu."
        )


@dataclass(frozen=True)
class Packs:
    """The packs to measure, this one first."""

    unets: tuple[Pack, ...]
    flux: tuple[FluxPack, ...]
    sd35: tuple[SD35Pack, ...]


def make_packs(folders: Sequence[Path]) -> Packs:
    """The packs to measure, once the host is started."""
    import_pack()
    from tools.bench.flux_packs import FluxThisPack
    from tools.bench.flux_peers import Shakker, XLabs
    from tools.bench.packs import Peer, ThisPack
    from tools.bench.sd35_packs import SD35ThisPack, Slickytail

    peers = dict(map(import_peer, folders))
    kinds: dict[str, Callable[[ModuleType], FluxPack]] = {"xlabs": XLabs, "shakker": Shakker}
    flux = [kind(peers[name]) for name, kind in kinds.items() if name in peers]
    unets = [Peer(package) for name, package in peers.items() if name == "plus"]
    sd35 = [Slickytail(package) for name, package in peers.items() if name == "slickytail"]
    return Packs((ThisPack(), *unets), (FluxThisPack(), *flux), (SD35ThisPack(), *sd35))


def describe(device: torch.device) -> Setting:
    """Where the figures come from."""
    from comfyui_version import __version__ as comfyui

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return Setting(name, torch.get_num_threads(), torch.__version__, comfyui)


def prepare(peers: Sequence[Path], folder: Path) -> tuple[Packs, torch.device]:
    """The packs and the device, with adapter files to be written to `folder`."""
    import comfy.model_management
    import folder_paths

    folder_paths.models_dir = str(folder)  # where some packs make folders of their own as they are imported
    packs = make_packs(peers)
    folder_paths.add_model_folder_path("ipadapter", str(folder), is_default=True)
    torch.set_num_threads(THREADS)
    return packs, comfy.model_management.get_torch_device()


def measured(choice: argparse.Namespace, folder: Path) -> Report:
    """Measure, each table printed as soon as it is there: what comes later may be stopped."""
    packs, device = prepare(choice.peer, folder)
    setting, tables = describe(device), []
    print(setting, flush=True)
    for name in [choice.only] if choice.only else TABLES:
        table = TABLES[name](packs, device, folder)
        if table.rows:
            print(f"\n{table}", flush=True)
            tables.append(table)
    return Report(setting, tuple(tables))


def sampling_table(packs: Packs, device: torch.device, folder: Path) -> Table:
    """Beside the bare model, in inference mode as the host samples."""
    from tools.bench.measure import Bench, all_rows

    names = tuple(pack.name for pack in packs.unets)
    with torch.inference_mode():
        return Table("bare model", names, tuple(all_rows(Bench(packs.unets, device, folder))))


def flux_table(packs: Packs, device: torch.device, folder: Path) -> Table:
    """Beside the bare model, with the packs for FLUX."""
    from tools.bench.flux import FluxBench, all_flux_rows
    from tools.bench.flux_models import DTYPE

    names = tuple(pack.name for pack in packs.flux)
    with torch.inference_mode():
        rows = tuple(all_flux_rows(FluxBench(packs.flux, device, DTYPE, folder)))
    return Table("bare model", names, rows)


def sd35_table(packs: Packs, device: torch.device, folder: Path) -> Table:
    """Beside the bare model, with the packs for SD3.5."""
    from tools.bench.sd35 import SD35Bench, sd35_rows

    names = tuple(pack.name for pack in packs.sd35)
    with torch.inference_mode():
        return Table("bare model", names, tuple(sd35_rows(SD35Bench(packs.sd35, device, folder))))


def compiled_table(packs: Packs, device: torch.device, folder: Path) -> Table:
    """This pack alone, beside the bare model, both compiled. On a CPU nobody samples so: it is empty."""
    from tools.bench.compiled import compiled_rows
    from tools.bench.measure import Bench

    ours = packs.unets[:1]
    with torch.inference_mode():
        rows = tuple(compiled_rows(Bench(ours, device, folder))) if device.type == "cuda" else ()
    return Table("bare model, compiled", (ours[0].name,), rows)


def training_table(packs: Packs, device: torch.device, folder: Path) -> Table:
    """This pack alone, beside the same step on diffusers."""
    import diffusers
    from diffusers.utils import logging

    from tools.bench.training import all_training_rows

    logging.set_verbosity_error()
    return Table(f"diffusers {diffusers.__version__}", (packs.unets[0].name,), tuple(all_training_rows(device)))


TABLES: dict[str, Callable[[Packs, torch.device, Path], Table]] = {
    "sampling": sampling_table,
    "flux": flux_table,
    "sd35": sd35_table,
    "training": training_table,
    "compiled": compiled_table,
}


def run(choice: argparse.Namespace) -> None:
    """Measure and print. Raises BenchError for what cannot be measured."""
    refuse_missing(choice.device, choice.only)
    start_host(choice.device, LAYOUT.host)
    LAYOUT.runs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=LAYOUT.runs) as folder:
        report = measured(choice, Path(folder))
    if choice.json:
        choice.json.write_text(to_json(report))


def main(arguments: list[str]) -> int:
    try:
        run(read_arguments(arguments))
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
