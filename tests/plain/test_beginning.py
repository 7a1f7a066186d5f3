"""What a fresh loader names, and what it says where there is nothing to name."""

from __future__ import annotations

import pytest
from pack.ipadapter.library.beginning import NONE_YET, menu, usual, what_to_get


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ip-adapter-faceid-plusv2_sd15.bin", "ip-adapter_sd15.safetensors"], "ip-adapter_sd15.safetensors"),
        (["flux-ip-adapter.safetensors", "sd/IP-Adapter-Plus_SD15.safetensors"], "sd/IP-Adapter-Plus_SD15.safetensors"),
        (["ip-adapter-plus_sd15.safetensors", "ip-adapter_sdxl.safetensors"], "ip-adapter_sdxl.safetensors"),
        (["instantid/ip-adapter.bin", "mine.safetensors", "other.safetensors"], "mine.safetensors"),
        (["ip-adapter-full-face_sd15.safetensors", "mine.safetensors"], "mine.safetensors"),
        (["ip-adapter-faceid_sd15.bin"], "ip-adapter-faceid_sd15.bin"),
        ([], None),
    ],
)
def test_a_fresh_loader_begins_with_the_most_usual_file(names, expected):
    assert usual(names) == expected


def test_an_empty_folder_says_what_to_get():
    assert menu([]) == [NONE_YET] and "ip-adapter_sd15.safetensors" in NONE_YET
    assert menu(["mine.safetensors"]) == ["mine.safetensors"]
    needed = ("ip-adapter_sd15.safetensors into models/ipadapter", "CLIP-ViT-H", "models/clip_vision", "https://")
    assert [word for word in needed if word not in what_to_get()] == []
