"""Files that a few bytes make ask for hours or for all of memory, and what reading one takes."""

from __future__ import annotations

import ctypes
import json
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"


@dataclass(frozen=True)
class Cost:
    """What something took."""

    seconds: float  # of the processor's, whatever else runs beside
    megabytes: float  # at the worst moment, above what was held before


def cost_of(attempt: Callable[[], object]) -> Cost:
    """Time, and memory as Linux counts it."""
    give_back()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = held("VmRSS"), time.process_time()
    attempt()
    return Cost(time.process_time() - began, (held("VmHWM") - before) / 1024)


def give_back() -> None:
    """Have glibc return what is free to the system: what an attempt found there would not be counted."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def held(which: str) -> int:
    """A line of this process's status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which))


def text(value: str) -> bytes:
    """A string's instruction in a pickle."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def tensor(key: str, numbers: int) -> bytes:
    """A tensor's instructions: the first numbers of a record."""
    size = struct.pack("<i", numbers)
    stored = STORAGE + text(key) + text("cpu") + b"J" + size + b"tQ"
    return REBUILD + b"(" + stored + b"K\x00J" + size + b"\x85K\x01\x85\x89" + ORDERED + b")RtR"


def entries(named: dict[str, bytes]) -> bytes:
    """A dictionary's instructions."""
    return b"}(" + b"".join(text(key) + value for key, value in named.items()) + b"u"


def zip_of(path: Path, content: bytes, records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A torch file with a pickle written by hand."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("a/version", "3\n")
        archive.writestr("a/byteorder", "little")
        for key, numbers in records.items():
            archive.writestr(f"a/data/{key}", numbers)
    return path


def shared_dictionaries(path: Path) -> Path:
    """Each dictionary is in the next one eighty times."""
    inner: dict[str, object] = {}
    for _ in range(6):
        inner = {str(index): inner for index in range(80)}
    torch.save(inner, path)
    return path


def shared_dictionaries_of_the_old_format(path: Path) -> Path:
    inner: dict[str, object] = {"a": torch.zeros(0)}
    for _ in range(6):
        inner = {str(index): inner for index in range(80)}
    torch.save(inner, path, _use_new_zipfile_serialization=False)
    return path


def deflated(path: Path) -> Path:
    """A gigabyte of zeros in a megabyte."""
    plain = path.with_suffix(".plain")
    content = entries({"a": tensor("0", 2**28)})
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("a/version", "3\n")
        with archive.open("a/data/0", "w", force_zip64=True) as record:
            for _ in range(64):
                record.write(bytes(2**24))
    return plain.rename(path)


def overlapping_records(path: Path) -> Path:
    """A hundred names in the list of records for the same ten megabytes."""
    zip_of(path, entries({str(i): tensor(f"{i:03}", 10 * 2**18) for i in range(100)}), {"000": bytes(10 * 2**20)})
    raw = path.read_bytes()
    end = raw.rfind(b"PK\x05\x06")
    begin = struct.unpack_from("<L", raw, end + 16)[0]
    entry = raw[raw.rfind(b"PK\x01\x02") : end]
    listed = [entry.replace(b"000", f"{i:03}".encode()) for i in range(1, 100)]
    body = raw[begin:end] + b"".join(listed)
    count = struct.unpack_from("<H", raw, end + 8)[0] + 99
    path.write_bytes(
        raw[:begin] + body + b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, count, count, len(body), begin, 0)
    )
    return path


def names_of_one_record(path: Path) -> Path:
    """torch finds records whatever the case of their names: each spelling is a copy more."""
    spellings = ["".join(c.upper() if i >> n & 1 else c for n, c in enumerate("abcdefgh")) for i in range(200)]
    content = entries({one: tensor(one, 10 * 2**18) for one in spellings})
    return zip_of(path, content, {"abcdefgh": bytes(10 * 2**20)})


def views_of_one_record(path: Path) -> Path:
    """The layers of an adapter, all the same ten megabytes."""
    named = {f"ip_adapter.{2 * i + 1}.to_{x}_ip.weight": tensor("0", 10 * 2**18) for i in range(500) for x in "kv"}
    return zip_of(path, entries({"image_proj.proj.weight": tensor("0", 10 * 2**18)} | named), {"0": bytes(10 * 2**20)})


def windows_of_one_record(path: Path) -> Path:
    """Each a little shorter than the one before."""
    named = {f"ip_adapter.{i}.to_k_ip.weight": tensor("0", 10 * 2**18 - i) for i in range(500)}
    return zip_of(path, entries(named), {"0": bytes(10 * 2**20)})


def tuples_of_tuples(path: Path) -> Path:
    """A key whose hash takes 2 ** 64 steps."""
    nested = b"K\x01\x85" + b"".join(b"q\x01h\x01\x86" for _ in range(64))
    return zip_of(path, b"}" + nested + b"K\x01s", {})


def copies_of_a_list(path: Path) -> Path:
    """A list of 50,000 pairs made a dictionary 3,000 times."""
    pairs = b"](" + b"".join(b"J" + struct.pack("<i", i) + b"K\x01\x86" for i in range(50_000)) + b"eq\x01"
    return zip_of(path, pairs + b"](" + (ORDERED + b"h\x01\x85R") * 3000 + b"e", {})


def attributes_again_and_again(path: Path) -> Path:
    """A dictionary of 50,000 as the attributes of 3,000 objects."""
    many = b"}(" + b"".join(text(str(i)) + b"K\x01" for i in range(50_000)) + b"uq\x01"
    return zip_of(path, many + b"](" + (ORDERED + b")Rh\x01b") * 3000 + b"e", {})


def a_gigabyte_of_bytes(path: Path) -> Path:
    return zip_of(path, b"}" + text("a") + b"c__builtin__\nbytearray\nJ" + struct.pack("<i", 2**30) + b"\x85Rs", {})


def a_tensor_of_any_size(path: Path) -> Path:
    sized = b"ctorch\nTensor\n\x8a\x05" + (2**34).to_bytes(5, "little") + b"\x85R"
    return zip_of(path, entries({"ip_adapter.1.to_k_ip.weight": sized}), {})


def many_tensors_in_a_pickle(path: Path) -> Path:
    """500,000 empty ones."""
    one = tensor("0", 0)
    return zip_of(path, entries({str(i): one for i in range(500_000)}), {"0": b""})


def many_records(path: Path) -> Path:
    """An archive of 100,000 records that nobody reads."""
    return zip_of(path, entries({"a": tensor("0", 0)}), {str(i): b"" for i in range(100_000)})


def header(path: Path, listed: str, data: bytes = b"") -> Path:
    raw = listed.encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


EMPTY = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def many_empty_tensors(path: Path) -> Path:
    return header(path, "{" + ",".join(f'"{i}":{EMPTY}' for i in range(500_000)) + "}")


def many_empty_tensors_in_a_short_form(path: Path) -> Path:
    return header(path, "{" + ",".join(f'"{i}":["F32",[0],[0,0]]' for i in range(250_000)) + "}")


def many_escaped_tensors(path: Path) -> Path:
    entry = r'{"dty\u0070e":"F32","shap\u0065":[0],"data_offse\u0074s":[0,0]}'
    return header(path, "{" + ",".join(f'"{i}":{entry}' for i in range(200_000)) + "}")


def many_texts(path: Path) -> Path:
    texts = ",".join(f'"{i}":""' for i in range(1_200_000))
    return header(path, f'{{"__metadata__":{{{texts}}},"a":{EMPTY}}}')


def many_backslashes(path: Path) -> Path:
    texts = ",".join(rf'"{i}\\":""' for i in range(1_000_000))
    return header(path, f'{{"__metadata__":{{{texts}}},"a":{EMPTY}}}')


def many_dimensions(path: Path) -> Path:
    return header(path, f'{{"a":{{"dtype":"F32","shape":[{"1," * 7_000_000}0],"data_offsets":[0,0]}}}}')


def a_long_header(path: Path) -> Path:
    return header(path, json.dumps({"__metadata__": {"a": "x" * 90_000_000}}))


def wide_bytes(path: Path) -> Path:
    """NaN in 8 bits, 50 MB of it, which becomes 200 MB if all of it is widened."""
    entry = '{"dtype":"F8_E4M3","shape":[1,52428800],"data_offsets":[0,52428800]}'
    return header(path, f'{{"ip_adapter.1.to_k_ip.weight":{entry}}}', b"\x7f" * 52_428_800)


def a_list_of_lists(path: Path) -> Path:
    path.write_bytes(pickle.dumps([[]] * 1_000_000, protocol=2))
    return path


HOSTILE = {
    maker.__name__: maker
    for maker in (
        shared_dictionaries,
        shared_dictionaries_of_the_old_format,
        deflated,
        overlapping_records,
        names_of_one_record,
        views_of_one_record,
        windows_of_one_record,
        tuples_of_tuples,
        copies_of_a_list,
        attributes_again_and_again,
        a_gigabyte_of_bytes,
        a_tensor_of_any_size,
        many_tensors_in_a_pickle,
        many_records,
        many_empty_tensors,
        many_empty_tensors_in_a_short_form,
        many_escaped_tensors,
        many_texts,
        many_backslashes,
        many_dimensions,
        a_long_header,
        wide_bytes,
        a_list_of_lists,
    )
}
