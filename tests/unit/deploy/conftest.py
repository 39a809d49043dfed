"""Scratch folders that the account of a server may walk into: pytest's own are closed to others."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short, passable folder, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="onestop-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
