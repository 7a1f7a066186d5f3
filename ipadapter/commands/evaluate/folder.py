"""What is evaluated: the images of a folder, with their captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageOps

from ...errors import IPAdapterError
from ...files.captions import lines_of, read_text
from ...files.pictures import PICTURE_ENDINGS, is_picture
from ...images.pixels import LONGEST_RATIO, SMALLEST_SIDE
from ...numbers import shorten
from ..naming import name_some
from .captions import Captions, coco_captions, json_captions, table_captions, text_captions

PAPERS_SPLIT = "val2017"
BENCHMARK_IMAGES, BENCHMARK_TEXTS = "images", "captions"

CAPTION_READERS: dict[str, Callable[[Path], Captions]] = {
    "captions.json": json_captions,
    "captions.csv": table_captions,
    "metadata.jsonl": table_captions,
}


@dataclass(frozen=True)
class CaptionedImage:
    """One image prompt: its file, and what people said it shows.

    In a benchmark, which has a text prompt beside it: `place` is where it is in its folders, by which its category is
    known, and the caption is the text that is drawn with.
    """

    path: Path
    captions: tuple[str, ...]
    place: str = ""
    text: str | None = None

    @property
    def name(self) -> str:
        return self.place or self.path.name

    @property
    def file_stem(self) -> str:
        """For the names of its pictures: its own, and its text's where several texts are drawn with one image."""
        return self.name if self.text is None else f"{self.name.replace('/', '-')}.{self.content[:6]}"

    @cached_property
    def content(self) -> str:
        """Tells the picture and its captions from others of the name."""
        made = hashlib.sha256(self.path.read_bytes())
        made.update(json.dumps(self.captions).encode())
        return made.hexdigest()[:16]


@dataclass(frozen=True)
class ImageSource:
    """Where the images are, and their captions by file name."""

    folder: Path
    captions: Captions


def read_folder(folder: Path, with_captions: bool = True, limit: int | None = None) -> list[CaptionedImage]:
    """The (first so many) images of a folder in the order of their names, in COCO's layout or plain.

    Raises IPAdapterError for a folder without images, images that cannot be used, and images without captions.
    """
    if not folder.is_dir():
        raise IPAdapterError(f"'{folder}' is not a folder: give one with images and their captions.")
    if is_benchmark(folder):
        return read_benchmark(folder, limit)
    source = find_source(folder)
    images = images_in(source.folder)[:limit]
    refuse_unusable_images(images)
    if not with_captions:
        return [CaptionedImage(image, ()) for image in images]
    captions = text_captions(images) | source.captions
    refuse_missing([image.name for image in images if not any(captions.get(image.name, ()))])
    return [CaptionedImage(image, tuple(captions[image.name])) for image in images]


def is_benchmark(folder: Path) -> bool:
    """Whether it is laid out as DreamBench++ is: pictures in folders by category, and a text for each."""
    return (folder / BENCHMARK_IMAGES).is_dir() and (folder / BENCHMARK_TEXTS).is_dir()


def read_benchmark(folder: Path, limit: int | None = None) -> list[CaptionedImage]:
    """DreamBench++'s layout: `images/CATEGORY/00.jpg` with `captions/CATEGORY/00.txt`, whose first line is what the
    picture shows and whose other lines are the texts to draw with, each an item of its own.
    """
    root = folder / BENCHMARK_IMAGES
    images = [path for path in sorted(root.rglob("*")) if path.is_file() and is_picture(path.relative_to(root))][:limit]
    if not images:
        raise IPAdapterError(f"'{root}' holds no images ({', '.join(sorted(PICTURE_ENDINGS))}).")
    refuse_unusable_images(images)
    return [item for image in images for item in texts_for(image, folder)]


def texts_for(image: Path, folder: Path) -> list[CaptionedImage]:
    """An image with each of its texts. Raises IPAdapterError where it has none."""
    place = image.relative_to(folder / BENCHMARK_IMAGES)
    file = (folder / BENCHMARK_TEXTS / place).with_suffix(".txt")
    lines = lines_of(read_text(file)) if file.is_file() else []
    if len(lines) < 2:
        needed = file.relative_to(folder).as_posix()
        raise IPAdapterError(
            f"'{place.as_posix()}' has no text to draw with: '{needed}' needs a line with what it shows and a line for "
            "each text."
        )
    return [CaptionedImage(image, (text,), place.as_posix(), text) for text in lines[1:]]


def category_of(image: str) -> str:
    """Of a benchmark's image, by its name in a table: its folders; empty for any other."""
    return image.rpartition("/")[0]


def find_source(folder: Path) -> ImageSource:
    """COCO's layout (`annotations/captions_val2017.json` beside `val2017/`), or one folder with everything."""
    coco = (coco_source(root, folder) for root in (folder, folder.parent))
    return next((source for source in coco if source), None) or plain_source(folder)


def coco_source(root: Path, folder: Path) -> ImageSource | None:
    """COCO's captions below `root` where they are of the images in `folder`; the paper's split before others."""
    splits = {path.stem.removeprefix("captions_"): path for path in (root / "annotations").glob("captions_*.json")}
    for split in sorted(splits, key=lambda name: (not (root / name).is_dir(), name != PAPERS_SPLIT, name)):
        images = next(root / name for name in (split, "images", ".") if (root / name).is_dir())
        if folder in (root, images):
            return ImageSource(images, coco_captions(splits[split]))
    return None


def plain_source(folder: Path) -> ImageSource:
    """A folder with tables of captions, or none."""
    tables = {name: folder / name for name in CAPTION_READERS if (folder / name).is_file()}
    captions = {key: value for name, path in tables.items() for key, value in CAPTION_READERS[name](path).items()}
    return ImageSource(folder, captions)


def images_in(folder: Path) -> list[Path]:
    """Image files by name. Raises IPAdapterError where there is none."""
    found = (path for path in folder.iterdir() if is_picture(path.relative_to(folder)))
    images = sorted(path for path in found if path.is_file())
    if not images:
        raise IPAdapterError(f"'{folder}' holds no images ({', '.join(sorted(PICTURE_ENDINGS))}).")
    return images


def refuse_unusable_images(images: Sequence[Path]) -> None:
    """Refuse, by name, files that are no images and images that are too small."""
    unusable = [sentence for sentence in map(trouble, images) if sentence]
    if unusable:
        raise IPAdapterError(f"{name_some(unusable)}: replace or remove {'it' if len(unusable) == 1 else 'them'}.")


def trouble(path: Path) -> str | None:
    """What keeps an image from being used, by its header, or None."""
    try:
        with Image.open(path) as image:
            short, long = sorted(image.size)
    except Exception:  # decoders raise whatever a damaged file leads them to
        return f"'{path.name}' cannot be read as an image"
    if short < SMALLEST_SIDE or long > LONGEST_RATIO * short:
        return f"'{path.name}' is {image.width}x{image.height} pixels, which says too little about a picture"
    return None


def refuse_missing(names: Sequence[str]) -> None:
    """Refuse images without a caption, by name."""
    if names:
        raise IPAdapterError(
            f"{len(names)} image(s) have no caption ({name_some(names)}): put a .txt of the same name beside each, or "
            "a captions.json or captions.csv into the folder, or measure CLIP-I alone with --without-captions."
        )


def open_image(path: Path) -> Image.Image:
    """An image as a viewer shows it, RGB. Raises IPAdapterError where its data are damaged."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:
        why = shorten(str(error))
        raise IPAdapterError(f"'{path.name}' is damaged or cut short: replace or remove it ({why}).") from error
