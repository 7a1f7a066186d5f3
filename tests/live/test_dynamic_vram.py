"""Everything that is shipped, and every old node, on a server with the host's dynamic VRAM as far as a CPU has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS

from tests.live.conftest import studio_of
from tests.live.shipped import NAMES, drawn, quick
from tests.live.studio import Studio
from tests.live.test_legacy_nodes import keep_embeds, runnable
from tests.live.training_pictures import put_training_pictures
from tools.server import running

pytestmark = pytest.mark.live

SWITCH = {"dynamic_vram": Path(__file__).with_name("dynamic_vram")}
# How the base model's weights are stored shows in what is trained against them and in a LoRA put into them.
STORED = ("train_ip_adapter", "faceid")
COMPARED = [name for name in NAMES if name not in STORED]
# The stand-ins are in fp16. Bringing weights to another precision is the part of dynamic VRAM that needs a card.
AS_STORED = ("--fp16-unet", "--fp16-text-enc")


@pytest.fixture(scope="module")
def dynamic(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A second server with the first one's models, on which the host builds layers without weights.

    The first has drawn by then, and holds no model any more: there is not room for both everywhere.
    """
    put_training_pictures(studio.server.input)
    for name in COMPARED:
        drawn(name, studio)
    studio.free()
    settings = studio.server.settings.beside(tmp_path_factory.mktemp("dynamic"), SWITCH, AS_STORED)
    with running(settings) as server:
        made = studio_of(server, tmp_path_factory)
        put_training_pictures(server.input)
        keep_embeds(made)
        yield made


@pytest.mark.parametrize("name", COMPARED)
def test_a_shipped_workflow_draws_what_it_draws_without(name: str, studio: Studio, dynamic: Studio) -> None:
    ours, theirs = dynamic.run(quick(name, dynamic)).pictures, drawn(name, studio).pictures
    assert ours.keys() == theirs.keys() != set()
    for node in theirs:
        for pair in zip(ours[node], theirs[node], strict=True):
            np.testing.assert_array_equal(*pair)


@pytest.mark.parametrize("name", STORED)
def test_a_shipped_workflow_that_depends_on_how_weights_are_stored_runs(name: str, dynamic: Studio) -> None:
    """Their numbers are compared in `tests/dynamic`, where both models are stored in float32."""
    assert dynamic.run(quick(name, dynamic)).pictures


@pytest.mark.parametrize("kind", sorted(LEGACY_FORMS))
def test_a_graph_of_an_old_node_runs(kind: str, dynamic: Studio) -> None:
    graph = runnable(kind, dynamic.photo)
    outcome = dynamic.run(graph).outcome
    assert not outcome.faults and set(graph.ids("PreviewAny")) <= set(outcome.outputs)
