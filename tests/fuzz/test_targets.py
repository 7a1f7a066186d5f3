"""What `make fuzz` tries: it begins from good inputs, passes what it once found, and tells faults from refusals."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from pack.ipadapter.errors import IPAdapterError

from tests.fuzz.targets import TARGETS, FindingError, Target, try_input, warm_up
from tools.fuzz import TARGETS as NAMES
from tools.fuzz import Outcome, explain, fuzz

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does"),
]
FOUND = sorted(path for path in Path(__file__).with_name("found").glob("*/*"))


def test_every_target_is_run():
    assert set(NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_begins_from_inputs_that_can_be_read(name, tmp_path):
    target = TARGETS[name]
    warm_up(target, tmp_path)
    understood = [bool(try_input(target, seed, tmp_path)) for seed in target.seeds()]
    assert sum(understood) > len(understood) / 2  # headers and pickles have other numbers behind them than their own


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}-{path.name}" for path in FOUND])
def test_what_was_found_once_is_mended(path, tmp_path):
    target = TARGETS[path.parent.name]
    warm_up(target, tmp_path)
    try_input(target, path.read_bytes(), tmp_path)


def refuse(sentence):
    def read(path):
        raise IPAdapterError(sentence)

    return read


def compute(path):
    """For longer than a file may take."""
    began = time.process_time()
    while time.process_time() - began < 2.1:
        pass


@pytest.mark.parametrize(
    ("reader", "error"),
    [
        (lambda path: {}["name"], KeyError),
        (lambda path: b"x" * 2**30, FindingError),  # ten times what may be: the system takes pages away meanwhile
        (compute, FindingError),
        (refuse("'given.json' is\nnothing."), FindingError),
        (refuse("'given.json' is nothing"), FindingError),
        (refuse("this is nothing."), FindingError),
        (refuse("'given.json' is nothing (KeyError('a'))."), FindingError),
    ],
    ids=["other error", "memory", "time", "two lines", "no sentence", "no name", "error's own words"],
)
def test_a_fault_is_a_finding(reader, error, tmp_path):
    with pytest.raises(error):
        try_input(Target(".json", (reader,), list), b"{}", tmp_path)


def test_a_refusal_in_a_sentence_is_none(tmp_path):
    assert try_input(Target(".json", (refuse("'given.json' is nothing."),), list), b"{}", tmp_path) == 0


def test_a_target_that_ends_badly_is_told_with_how_to_see_it_again(tmp_path):
    """As where its process does not even start."""
    outcome = fuzz("no such target", 1, tmp_path)
    assert not outcome.ended_well and "FOUND" in str(outcome) and "KeyError: 'no such target'" in explain(outcome)
    found = Outcome("typed", 3, 2, 1.0, outcome.log, (tmp_path / "crash-1",), ended_well=False)
    assert f"-m tests.fuzz typed {tmp_path / 'crash-1'}" in explain(found)
