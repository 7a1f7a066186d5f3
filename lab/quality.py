"""How well the laboratory's models draw what they are told, read by its classifier.

    python -m lab.quality [--pictures N]

Prints the table of lab/README.md, what the report keeps of the other stages included.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .host import start_host

ATTRIBUTES = ("shape", "colour", "style", "background")
STEPS, GUIDANCE = 20, 3.0


def conditioning(texts: Sequence[str]) -> list[Any]:
    """One conditioning with a row for every text."""
    from . import files

    clip = files.load_clip()
    return [[torch.cat([clip.encode(text) for text in texts]), {}]]


def sample(model: Any, texts: Sequence[str], steps: int = STEPS, extra: Mapping[str, Any] | None = None) -> Tensor:
    """Pictures (N, 64, 64, 3) of the captions, guided as a user would."""
    import comfy.sample

    from . import files

    noise = torch.randn(len(texts), 4, 8, 8, generator=torch.Generator().manual_seed(1))
    [[words, _]] = conditioning(texts)
    rows = [[[words, dict(extra or {})]], conditioning([""] * len(texts))]
    latents = comfy.sample.sample(
        model, noise, steps, GUIDANCE, "euler", "normal", *rows, torch.zeros_like(noise), disable_pbar=True, seed=1
    )
    return files.load_vae().decode(latents)


def structure(scenes: Sequence[Any]) -> dict[str, Any]:
    """The ControlNet with the scenes' outlines, as a conditioning carries it."""
    from . import files
    from .world import edges

    hint = torch.stack([torch.from_numpy(edges(scene)) for scene in scenes]).movedim(-1, 1) / 255  # (N, 3, 64, 64)
    control = files.load_control_net().set_cond_hint(hint, 1.0, (0.0, 1.0))
    return {"control": control, "control_apply_to_uncond": True}


def agreements(scenes: Sequence[Any], pictures: Tensor) -> dict[str, float]:
    """For each attribute, the share of pictures that have the scene's."""
    from . import files
    from .classifier import agreement

    readings = files.load_classifier().read(pictures)
    return {key: agreement(scenes, readings, key) for key in ATTRIBUTES}


def drawn(name: str, scenes: Sequence[Any]) -> dict[str, float]:
    """A model given the scenes' full captions."""
    from . import files
    from .world import caption

    return agreements(scenes, sample(files.load_model(name), [caption(scene) for scene in scenes]))


def built(scenes: Sequence[Any], extra: Mapping[str, Any]) -> dict[str, float]:
    """The base model given captions that do not tell the shape, with or without the ControlNet."""
    from . import files
    from .world import EVERYTHING, caption

    texts = [caption(scene, replace(EVERYTHING, shape=False)) for scene in scenes]
    return agreements(scenes, sample(files.load_model("base"), texts, extra=extra))


def drawn_widely(scenes: Sequence[Any]) -> dict[str, float]:
    """The wide base given the full captions, read off the pixels, which tell no style."""
    from . import files
    from .reading import read
    from .world import caption

    pictures = sample(files.load_model("wide-base"), [caption(scene) for scene in scenes]).clamp(0, 1)
    seen = [read(picture.numpy()) for picture in pictures]
    names = ("shape", "colour", "background")
    pairs = {name: [getattr(a, name) == getattr(b, name) for a, b in zip(scenes, seen, strict=True)] for name in names}
    return {name: sum(same) / len(same) for name, same in pairs.items()}


def row(what: str, pictures: int, values: Mapping[str, float]) -> str:
    cells = (f"{values[key]:.2f}" if key in values else "" for key in ATTRIBUTES)
    return f"| {what} | {pictures} | {' | '.join(cells)} |"


def rows(pictures: int) -> list[str]:
    """The table."""
    from . import store
    from .wide import held_out_wide, train_wide
    from .world import held_out_scenes, train_scenes

    report, known, new = store.read_report(), train_scenes(pictures, 11), held_out_scenes(pictures, 12)
    structured = new[: pictures // 4]
    return [
        row("classifier, held-out scenes", 720, report["classifier"]["real"]),
        row("the same after the autoencoder", 720, report["classifier"]["reconstructed"]),
        row("CLIP, zero-shot, held-out scenes", 480, report["clip"]["held_out"]),
        row("`base`, full captions, trained combinations", pictures, drawn("base", known)),
        row("`base`, full captions, held-out combinations", pictures, drawn("base", new)),
        row("`fine-tuned`, trained combinations", pictures, drawn("fine-tuned", known)),
        row("`fine-tuned`, held-out combinations", pictures, drawn("fine-tuned", new)),
        row("`wide-base`, trained combinations, wide scenes", pictures, drawn_widely(train_wide(pictures, 11))),
        row("`wide-base`, held-out combinations, wide scenes", pictures, drawn_widely(held_out_wide(pictures, 12))),
        row(
            "`controlnet`, captions without the shape, held-out scenes",
            len(structured),
            built(structured, structure(structured)),
        ),
        row("the same without the ControlNet", len(structured), built(structured, {})),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.quality", description="How well the models draw.")
    parser.add_argument("--pictures", type=int, default=96)
    chosen = parser.parse_args()
    start_host()
    torch.set_num_threads(1)
    with torch.inference_mode():
        print("\n".join(rows(chosen.pictures)))


if __name__ == "__main__":
    main()
