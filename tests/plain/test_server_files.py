"""What the tools write for a server before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tools.server import model_paths


@pytest.mark.parametrize("folder", ["models", "my models: #1 'a' \"b\"", "C\\models", "ünïcode {x} [y] & *z"])
def test_the_models_are_named_wherever_the_checkout_lies(folder, tmp_path):
    models = tmp_path / folder
    (listed,) = yaml.safe_load(model_paths(models)).values()
    assert Path(listed.pop("base_path")) == models.resolve()
    assert "checkpoints" in listed
