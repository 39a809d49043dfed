"""In a worker process nothing that waits holds up the others: not a disk that takes its time with the
witness, nor a server that says nothing."""

import subprocess
import sys

from tests.support.installation import ROOT

PROGRAM = """
import os
from deploy.worker import AsideWitness, is_ready
import eventlet
from shared.bus.witness import Mark, WitnessUnusable
from shared.events.ids import new_id

reading, writing = os.pipe()

class OfASlowDisk:
    # Its thread waits for what only another green thread sends.
    def read(self):
        ended.wait()
        return mark
    def keep(self, kept, *, new_epoch=False):
        assert kept == mark and new_epoch
    def rewrite(self):
        raise WitnessUnusable("", "the disk is full")

mark, ended = Mark(new_id(), 1, {}), eventlet.patcher.original("threading").Event()
witness = AsideWitness(OfASlowDisk())
eventlet.spawn_after(0.05, ended.set)
assert witness.read() == mark
witness.keep(mark, new_epoch=True)
try:
    witness.rewrite()
    raise AssertionError("it was told that the disk is full")
except WitnessUnusable as error:
    assert error.detail_en == "the disk is full"

assert is_ready(writing, False, 60.0)
assert not is_ready(reading, True, 0.05)
eventlet.spawn_after(0.05, os.write, writing, b"x")
assert is_ready(reading, True, float("inf"))
print("all went on")
"""


def test_who_waits_lets_the_others_run() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert run.stdout.splitlines()[-1:] == ["all went on"], run.stderr
