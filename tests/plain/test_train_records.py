"""Checkpoints and the loss file: complete or not there, and none too many."""

from __future__ import annotations

from pathlib import Path

import pytest
from pack.ipadapter.commands.train.checkpoints import Checkpoints, RunCheckpoint
from pack.ipadapter.commands.train.journal import Journal, LossRow
from pack.ipadapter.errors import IPAdapterError


def save(checkpoints: Checkpoints, step: int) -> RunCheckpoint:
    (checkpoints.begin(step) / "weights").write_text(str(step))
    return checkpoints.finish(step, {"step": step})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (5, 10, 1000000, 999999):
        save(checkpoints, step)
    assert names(tmp_path) == ["step-1000000", "step-999999"]
    newest = checkpoints.newest()
    assert newest is not None and newest.step == 1000000 and newest.facts == {"step": 1000000}


def test_one_that_was_not_finished_does_not_count_and_is_cleared_away(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1)
    (checkpoints.begin(2) / "weights").write_text("half")
    assert [checkpoint.step for checkpoint in checkpoints.complete()] == [1]
    save(checkpoints, 3)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_one_of_the_same_step_takes_its_place(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1)
    (checkpoints.begin(1) / "weights").write_text("anew")
    assert (checkpoints.finish(1, {}).folder / "weights").read_text() == "anew"


def test_a_write_that_fails_leaves_nothing_half_done(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    save(checkpoints, 1)
    checkpoints.begin(2)
    sentence = r"step 2 could not be written .*No space left.*step 1 is unchanged"
    with pytest.raises(IPAdapterError, match=sentence), checkpoints.telling(2):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == ["step-000001"]


def test_damaged_facts_are_named(tmp_path):
    checkpoint = save(Checkpoints(tmp_path, keep=3), 1)
    (checkpoint.folder / "training.json").write_text("{")
    with pytest.raises(IPAdapterError, match="step-000001' is damaged .* delete it"):
        checkpoint.facts  # noqa: B018


def test_the_loss_file_has_no_row_of_a_lost_step(tmp_path):
    journal = Journal(tmp_path / "loss.csv")
    rows = [LossRow(step, step / 3, 1e-4, 2.0) for step in range(1, 6)]
    journal.cut(0)
    journal.add(rows)
    with journal.path.open("a") as file:
        file.write("6,0.1")  # as a process that is killed may leave it
    journal.cut(4)
    journal.add(rows[4:])
    assert journal.rows() == rows


def test_a_loss_file_that_another_program_has_written_anew_is_named(tmp_path):
    path = tmp_path / "loss.csv"
    for text in ("step,loss\n1,0.5\n".encode("utf-16"), b"step,loss\r1,0.5\r\0" + b"x" * 200_000):
        path.write_bytes(text)
        with pytest.raises(
            IPAdapterError, match=r"^'loss\.csv' is no longer the table of losses .*: put it back .*\.$"
        ):
            Journal(path).rows()
