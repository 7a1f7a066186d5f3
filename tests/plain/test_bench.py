"""What the benchmark is told and tells, without a model."""

from __future__ import annotations

import pytest

from tools.bench.host import PEERS, BenchError, import_peer
from tools.bench.report import Cell, Row, Table, Unit


def test_a_folder_that_is_no_pack_to_compare_with_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(BenchError) as refused:
        import_peer(tmp_path)
    assert all(mark in str(refused.value) for mark in PEERS)
    assert "x-flux-comfyui" in str(refused.value)


@pytest.mark.parametrize(("mark", "name"), PEERS.items())
def test_a_checkout_is_told_by_what_is_in_it(mark, name, tmp_path):
    (tmp_path / mark).mkdir(parents=True)
    (tmp_path / "__init__.py").write_text("HERE = True\n")
    told, package = import_peer(tmp_path)
    assert (told, package.HERE) == (name, True)


def test_a_pack_that_has_no_figure_has_an_empty_cell():
    table = Table("bare", ("one", "other"), (Row("a", "b", None, (Cell(3, Unit.COUNT), None)),))
    assert str(table).splitlines()[-1] == "| a | b |  | 3 |  |"
