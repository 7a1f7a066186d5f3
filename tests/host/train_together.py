"""A small training run in several processes, as a launcher starts them, each forked."""

from __future__ import annotations

from typing import Any

from tests.host.train_cli_world import Job
from tests.host.train_every_division import run


def asked(job: dict[str, Any], processes: int) -> None:
    """Carry it out."""
    run(Job(**job), processes)
