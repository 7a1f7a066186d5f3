"""Listing and opening training pictures: folders, captions in several forms, WebDataset shards, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from pack.ipadapter.commands.train.listing import complete, decode, list_folder, list_shards
from pack.ipadapter.commands.train.pictures import open_training_picture
from pack.ipadapter.errors import IPAdapterError
from PIL import Image

CAPTION = "a café, 東京"


def picture(width: int = 20, height: int = 16, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def png(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def folder_of(tmp_path: Path, names: list[str]) -> Path:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(picture()))
    return tmp_path


def captions(folder: Path) -> dict[str, str | None]:
    return {entry.name: entry.caption for entry in list_folder(folder, "txt")}


def test_captions_lie_beside_the_pictures(tmp_path):
    folder_of(tmp_path, ["b.png", "a.JPG", "deep/c.png"])
    (tmp_path / "b.txt").write_text(CAPTION + "\n", encoding="utf-8")
    (tmp_path / "deep" / "c.txt").write_text("", encoding="utf-8")
    assert captions(tmp_path) == {"a.JPG": None, "b.png": CAPTION, "deep/c.png": ""}


def test_captions_stand_in_one_csv_file(tmp_path):
    folder_of(tmp_path, ["a.png", "deep/c.png"])
    (tmp_path / "captions.csv").write_text('file,caption\na.png,"one, two"\ndeep/c.png,three\n', encoding="utf-8-sig")
    assert captions(tmp_path) == {"a.png": "one, two", "deep/c.png": "three"}


def shortly(text: str) -> str:
    return text[:30]


# Where Python's own lines end, and those of other programs do not.
IN_JSON = ["\u2028", "\u2029", "\x85"]
ANYWHERE = [*IN_JSON, "\x0b", "\x0c", "\x1c"]


@pytest.mark.parametrize("separator", IN_JSON, ids=ascii)
def test_unicodes_separators_are_part_of_a_line_of_json(tmp_path, separator):
    folder_of(tmp_path, ["a.png", "b.png"])
    rows = [{"file_name": "a.png", "text": f"one{separator}two"}, {"file_name": "b.png", "text": "three"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    assert captions(tmp_path) == {"a.png": f"one{separator}two", "b.png": "three"}


@pytest.mark.parametrize("separator", ANYWHERE, ids=ascii)
def test_unicodes_separators_are_part_of_a_caption(tmp_path, separator):
    folder_of(tmp_path, ["a.png"])
    (tmp_path / "a.txt").write_text(f"one{separator}two\n", encoding="utf-8")
    assert captions(tmp_path) == {"a.png": f"one{separator}two"}


HEADERS = ["file_name,text", "File,Caption", "File Name, Prompt", "\ufeffPATH,TEXT", "n,image,text"]


@pytest.mark.parametrize("name", ["a.png", "./a.png", "deep/../a.png", "{folder}/a.png", "  a.png "])
@pytest.mark.parametrize("header", HEADERS, ids=ascii)
def test_names_and_headers_as_people_write_them(tmp_path, name, header):
    folder_of(tmp_path, ["a.png"])
    number = "7," if header.startswith("n,") else ""
    row = f"{number}{name.format(folder=tmp_path)}, a cat"
    (tmp_path / "captions.csv").write_text(f"{header}\n\n{row}\n", encoding="utf-8")
    assert captions(tmp_path) == {"a.png": "a cat"}


def test_names_may_be_from_where_the_program_runs(tmp_path, monkeypatch):
    """The folder's own come first."""
    folder_of(tmp_path / "set", ["a.png", "set/a.png", "b.png"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set" / "captions.csv").write_text("file,text\nset/a.png,deep\nset/b.png,a cat\na.png,a dog\n")
    assert captions(tmp_path / "set") == {"set/a.png": "deep", "b.png": "a cat", "a.png": "a dog"}


def test_another_systems_slashes_are_read(tmp_path):
    folder_of(tmp_path, ["deep/a.png"])
    (tmp_path / "captions.csv").write_text("file,text\ndeep\\a.png,a cat\n")
    assert captions(tmp_path) == {"deep/a.png": "a cat"}


def test_what_macos_puts_beside_pictures_is_none(tmp_path):
    folder_of(tmp_path, ["a.png", "._a.png", "__MACOSX/a.png", "deep/._b.png"])
    (tmp_path / "a.TXT").write_text("a cat")
    assert captions(tmp_path) == {"a.png": "a cat"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=ascii)
def test_a_csv_file_has_the_line_ends_of_any_system(tmp_path, end):
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "captions.csv").write_bytes(end.join(["file,caption", "a.png,one", "b.png,two", ""]).encode())
    assert captions(tmp_path) == {"a.png": "one", "b.png": "two"}


def test_captions_stand_in_one_jsonl_file(tmp_path):
    folder_of(tmp_path, ["a.png", "b.png"])
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": CAPTION}) + "\n\n")
    assert captions(tmp_path) == {"a.png": CAPTION, "b.png": None}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-16-be-mark"])
def test_captions_are_read_in_unicode_encodings(encoding):
    marks = {"utf-16-le-mark": ("utf-16-le", b"\xff\xfe"), "utf-16-be-mark": ("utf-16-be", b"\xfe\xff")}
    codec, mark = marks.get(encoding, (encoding, b""))
    assert decode(mark + f"{CAPTION}\r\n".encode(codec), "a.txt").strip() == CAPTION


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("café".encode("latin-1"), "byte 4 does not belong to utf-8"),
        (b"pl\0ain", "zero bytes"),
        (b"\xff\xfea", "byte 3 does not belong to utf-16"),
    ],
)
def test_captions_in_other_encodings_are_named(content, why):
    with pytest.raises(IPAdapterError, match=f"'a.txt' is not text in UTF-8 or UTF-16.*{why}.*save it as UTF-8"):
        decode(content, "a.txt")


def test_missing_captions_are_named_or_taken_as_empty(tmp_path):
    entries = list_folder(folder_of(tmp_path, [f"{number}.png" for number in range(7)]), "txt")
    with pytest.raises(IPAdapterError, match=r"7 of 7 pictures have no caption: 0\.png, .*, 4\.png and 2 more\. Write"):
        complete(entries, False, "Write one")
    assert complete(entries, True, "Write one") == entries


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("captions.csv", "a,b\n1,2\n", "'captions.csv' has the columns a, b, where one of"),
        ("captions.csv", "", "'captions.csv' has the columns none"),
        ("captions.csv", f"file,text\na.png,{'x' * 200_000}\n", "'captions.csv' is not CSV in line 2: field larger"),
        (
            "captions.csv",
            "file,text\na.png,a cat, asleep\n",
            "3 values in line 2, where its first line names 2: put quo",
        ),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n{"text": "y"}\n', "names no picture in line 2"),
        ("metadata.jsonl", '{"file_name": ["a.png"], "text": "x"}\n', "names no picture in line 1"),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "x"}\n{"file', "not JSON in line 2"),
        ("metadata.jsonl", "[1]\n", "a list in line 1, where an object is needed"),
    ],
    ids=shortly,
)
def test_tables_of_captions_that_cannot_be_read_are_named(tmp_path, name, content, sentence):
    folder_of(tmp_path, ["a.png"])
    (tmp_path / name).write_text(content)
    with pytest.raises(IPAdapterError, match=sentence):
        list_folder(tmp_path, "txt")


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(IPAdapterError, match="holds no pictures"):
        list_folder(tmp_path, "txt")
    with pytest.raises(IPAdapterError, match="is not a folder"):
        list_folder(tmp_path / "nowhere", "txt")


# Shards


def write_shards(folder: Path, shards: int, examples: int) -> None:
    for shard in range(shards):
        with webdataset.TarWriter(str(folder / f"train-{shard:03d}.tar")) as writer:
            for number in range(examples):
                key = f"{shard}{number}"
                content = png(picture(seed=10 * shard + number))
                writer.write({"__key__": f"part/{key}", "png": content, "txt": f"{CAPTION} {key}", "json": "{}"})


def test_shards_give_what_webdataset_reads_from_them(tmp_path):
    write_shards(tmp_path, 2, 3)
    entries = list_shards([tmp_path / "train-{000..001}.tar"], "txt")
    theirs = list(webdataset.WebDataset(str(tmp_path / "train-{000..001}.tar"), shardshuffle=False))
    assert [(entry.caption, entry.read()) for entry in entries] == [(e["txt"].decode(), e["png"]) for e in theirs]
    assert entries[4].name == "train-001.tar/part/11.png"
    assert list_shards([tmp_path / "train-*.tar"], "txt") == entries
    assert list_shards([tmp_path / "train-{000,001}.tar"], "txt") == entries


def test_examples_without_a_picture_are_no_examples_and_without_a_text_have_no_caption(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        writer.write({"__key__": "0", "txt": "alone"})
        writer.write({"__key__": "1", "png": png(picture())})
    assert [(entry.name, entry.caption) for entry in list_shards([tmp_path / "a.tar"], "txt")] == [
        ("a.tar/1.png", None)
    ]


def tar_of(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_what_macos_puts_into_archives_is_no_example(tmp_path):
    stray = {".DS_Store": b"x", "._1.png": b"x", "._1.txt": b"x", "__MACOSX/1.png": b"x"}
    path = tar_of(tmp_path / "a.tar", **stray, **{"./1.png": png(picture()), "./1.txt": b"a cat\n"})
    assert [(entry.name, entry.caption) for entry in list_shards([path], "txt")] == [("a.tar/1.png", "a cat")]


@pytest.mark.parametrize("folder", ["set [1]", "what?", "a*b", "{x}"])
@pytest.mark.parametrize("pattern", ["a.tar", "*.tar", "{a,b}.tar"])
def test_folders_may_have_any_character(tmp_path, folder, pattern):
    place = tmp_path / folder
    place.mkdir()
    for name in ("a.tar", "b.tar"):
        tar_of(place / name, **{"1.png": png(picture()), "1.txt": b"a cat"})
    found = [entry.file.name for entry in list_shards([place / pattern], "txt")]
    assert found == (["a.tar"] if pattern == "a.tar" else ["a.tar", "b.tar"])


def test_shards_that_are_not_there_are_named(tmp_path):
    write_shards(tmp_path, 1, 1)
    with pytest.raises(IPAdapterError, match="names no file: train-001.tar, train-002.tar is there"):
        list_shards([tmp_path / "train-{000..002}.tar"], "txt")
    with pytest.raises(IPAdapterError, match="nothing fits the wildcard"):
        list_shards([tmp_path / "other-*.tar"], "txt")


@pytest.mark.parametrize("cut", [700, 1536, 2048, 2100, 4000])
def test_shards_that_are_cut_short_are_named(tmp_path, cut):
    write_shards(tmp_path, 1, 3)
    path = tmp_path / "train-000.tar"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(IPAdapterError, match="'train-000.tar' is not a readable tar file"):
        list_shards([path], "txt")


def test_compressed_shards_are_refused(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar.gz")) as writer:
        writer.write({"__key__": "0", "png": png(picture()), "txt": "x"})
    with pytest.raises(IPAdapterError, match="plain .tar, not compressed"):
        list_shards([tmp_path / "a.tar.gz"], "txt")


# Pictures


def test_pixels_are_those_of_the_reference_trainers_transforms():
    from torchvision import transforms

    image = picture(90, 61)
    opened = open_training_picture(png(image), 32)
    reference = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()])(image)
    assert torch.equal(opened.pixels.movedim(-1, 0), reference)
    assert opened.whole.shape == (1, 61, 90, 3)
    assert (opened.sizes.height, opened.sizes.width, opened.sizes.top, opened.sizes.left) == (61, 90, 0, 8)


def test_pictures_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert open_training_picture(png(picture(40, 20), "JPEG", exif=exif), 16).whole.shape == (1, 40, 20, 3)


def test_grey_palette_transparent_and_16_bit_pictures_are_read():
    for mode in ("L", "P", "RGBA", "1", "CMYK"):
        form = "TIFF" if mode == "CMYK" else "PNG"
        assert open_training_picture(png(picture().convert(mode), form), 8).pixels.shape == (8, 8, 3)
    deep = Image.fromarray(np.full((16, 16), 0x8000, dtype=np.uint16))
    assert open_training_picture(png(deep), 8).pixels.mean() == pytest.approx(0.5, abs=0.01)


def test_the_area_is_how_opaque_each_place_of_the_latent_is():
    image = picture(40, 32).convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 20, 32))  # its left half, of which the crop to 32×32 has 16 columns
    image.putalpha(alpha)
    area = open_training_picture(png(image), 32).area
    assert torch.equal(area, torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 4, 4))
    palette = picture(32, 32).convert("P")
    for mode, see_through in (("RGB", {}), ("P", {"transparency": palette.getpixel((0, 0))})):
        whole = open_training_picture(png(palette.convert(mode), **see_through), 32).area
        assert (whole.min() < 1) == bool(see_through)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a readable picture"),
        (b"not a picture at all", "not a readable picture"),
        (png(picture(64, 64))[:2000], "not a readable picture"),
        (png(picture(7, 30)), "7×30 pixels"),
        (png(picture(1000, 10)), "1000×10 pixels"),
    ],
)
def test_pictures_that_say_nothing_are_refused(content, why):
    with pytest.raises(IPAdapterError, match=why):
        open_training_picture(content, 32)
