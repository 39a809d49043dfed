"""Commands of an installation, given in this process or in one of its own that ends where it is planned."""

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from tests.support.installation import ROOT, Installation

_RUN = """
import sys
from shared.faults import plan_faults
plan_faults(sys.argv[1])
from deploy.commands.app import run
sys.exit(run(sys.argv[2:]))
"""


def command(made: Installation, plan: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with a plan of faults."""
    return subprocess.run(
        [sys.executable, "-c", _RUN, plan, *arguments],
        env=made.environment() | {"ONESTOP_DATA_DIR": str(made.scratch / "data")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def give_commands_to(made: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands given in this process go to this installation."""
    for name, value in made.environment().items():
        if name.startswith("ONESTOP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("ONESTOP_DATA_DIR", str(made.scratch / "data"))


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Commands set up logging for their process; here it is as it was after the test."""
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
