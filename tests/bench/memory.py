"""Memory of everything that `onestop up` runs: idle, and after many cases.

PSS: what several processes share is counted once among them. What PostgreSQL shares among its own (its
buffers, of a fixed size) is left out.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from sqlalchemy import create_engine, text

from deploy.catalogue import publish_matters
from deploy.installation import remembered_settings
from deploy.processes import end, free_port, spawn, wait_until
from shared.catalogue.loader import BUILT_IN
from shared.context import build_context
from shared.db.engine import database_url
from shared.sections import LimitSettings
from shared.settings import Settings
from tests.bench import generator
from tests.bench.generator import Plan
from tests.bench.hall import applications
from tests.bench.seed import MANY_PEOPLE, TINY_PEOPLE, register
from tests.bench.servers import ROOT, tell

_HEAD = re.compile(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)")
_SHARED = ("/dev/zero", "/SYSV", "/dev/shm/PostgreSQL")
_START_S, _DRAIN_S = 120.0, 300.0
_IN_APP = 2
"""Notices of a case where no other channel is set up."""


@dataclass(frozen=True, slots=True)
class Memory:
    """MB: idle after the start, after the first cases, after all of them."""

    idle: float
    warm: float
    after: float


@dataclass(frozen=True, slots=True)
class Scale:
    """How many cases, of which the first ones warm everything up; by how many clients at once."""

    people: int = MANY_PEOPLE
    cases: int = 20_000
    warm_up: int = 1000
    clients: int = 8
    settle_s: float = 5.0


TINY = Scale(people=TINY_PEOPLE, cases=40, warm_up=20, clients=2, settle_s=0.5)
"""Does it run at all?"""


def measure(scale: Scale) -> Memory:
    """`onestop up`, as on a laptop: delivery inside the database."""
    tell(f"memory: `onestop up`, idle and after {scale.cases} cases")
    with tempfile.TemporaryDirectory(prefix="onestop-bench-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        with _up(folder) as (pid, settings, port):
            time.sleep(scale.settle_s)
            idle = pss_mb(pid)
            found = [idle]
            requests = applications(settings, scale.people)
            for n, cases in enumerate((scale.warm_up, scale.cases - scale.warm_up)):
                plan = Plan([port], requests, 3600, clients=scale.clients, most=cases)
                sent = generator.run(plan, folder / f"sent_{n}")
                if not all(one.is_good for one in sent):
                    raise RuntimeError(f"{sum(not one.is_good for one in sent)} of {cases} were refused")
                _await_told(settings, scale.warm_up if n == 0 else scale.cases)
                time.sleep(scale.settle_s)
                found.append(pss_mb(pid))
    tell(f"  {found[0]:.0f} MB idle, {found[1]:.0f} MB warm, {found[2]:.0f} MB after all")
    return Memory(*found)


@contextmanager
def _up(folder: Path) -> Iterator[tuple[int, Settings, int]]:
    """The command's process, the settings of what it started, and the port of its web process."""
    port = free_port()
    limits = {f"ONESTOP_LIMITS__{name.upper()}": "1000000" for name in LimitSettings.model_fields}
    outer = {name: value for name, value in os.environ.items() if not name.startswith("ONESTOP_")}
    data = folder / "data"
    with (folder / "up.log").open("wb") as output:
        child = spawn(
            [sys.executable, "-m", "deploy.cli", "up", "--port", str(port), "--data-dir", data],
            output=output.fileno(),
            environment={**outer, **limits, "ONESTOP_LOG_LEVEL": "WARNING"},
            cwd=ROOT,
        )
    try:
        wait_until(lambda: child.poll() is not None or _answers(port), _START_S, every_s=0.1)
        if child.poll() is not None or not _answers(port):
            raise RuntimeError(f"`onestop up` did not start: {(folder / 'up.log').read_text()[-2000:]}")
        with _variables(remembered_settings(data)):
            settings = Settings()
        _fill(settings)
        yield child.pid, settings, port
    finally:
        end(child, signal.SIGTERM, 60)
        shutil.rmtree(data, ignore_errors=True)


def _fill(settings: Settings) -> None:
    publish_matters(settings, sorted(BUILT_IN.glob("*.yaml")))
    contexts = [build_context(settings, service) for service in ("intake", "materials")]
    register(contexts[0], contexts[1], range(MANY_PEOPLE))
    for context in contexts:
        context.hints.close()
        context.engine.dispose()
        context.hints.engine.dispose()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _await_told(settings: Settings, cases: int) -> None:
    engine = create_engine(database_url(settings, settings.db.admin_user))

    def told() -> int:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT count(*) FROM notify.inbox_messages"))
            return int(found.scalar_one()) // _IN_APP

    try:
        if not wait_until(lambda: told() >= cases, _DRAIN_S, every_s=0.5):
            raise RuntimeError(f"{told()} of {cases} cases are told after {_DRAIN_S:.0f} s")
    finally:
        engine.dispose()


@contextmanager
def _variables(found: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(found)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def pss_mb(pid: int) -> float:
    """Of a process and all below it, in MB, without PostgreSQL's shared memory."""
    root = psutil.Process(pid)
    kilobytes = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            kilobytes += private_share(Path(f"/proc/{process.pid}/smaps").read_text(encoding="utf-8"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return kilobytes / 1024


def private_share(smaps: str) -> int:
    """The sum of the PSS of what `smaps` lists, in kB, without what a PostgreSQL shares among its own."""
    counts, total = True, 0
    for line in smaps.splitlines():
        if head := _HEAD.fullmatch(line):
            counts = not head[1].startswith(_SHARED)
        elif counts and line.startswith("Pss:"):
            total += int(line.split()[1])
    return total
