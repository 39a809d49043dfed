"""A name server says nothing: whoever asks waits, and nobody else in the same worker."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installation import ROOT
from tests.support.system import HOST, Names

WAYS = ("database", "broker_consumer", "broker_publisher", "peer", "mail")
"""Of `tests.support.resolving`, which runs in a process of its own."""


@pytest.mark.parametrize("way", WAYS)
def test_only_who_asks_waits_for_the_name(way: str, tmp_path: Path) -> None:
    if not Names.are_possible():
        pytest.skip("only root may give processes a table of names of their own")
    names = Names(tmp_path)
    names.add(HOST)
    with names.without_answer(HOST):
        asked = subprocess.run(
            [*names.wrap, sys.executable, "-m", "tests.support.resolving", way, HOST],
            cwd=ROOT,
            env={"RES_OPTIONS": "timeout:1 attempts:2"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    found = json.loads(asked.stdout.splitlines()[-1])
    assert found["error"] is not None
    assert found["took_s"] > 0.9, "the name server was asked"
    assert found["stood_still_s"] < 0.5, found
