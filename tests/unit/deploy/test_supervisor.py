"""The supervisor: order, gates, restarts, a clean stop, and nothing left after a SIGKILL."""

import asyncio
import errno
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from deploy.errors import AlreadyRunning, NothingRuns, NotStarted, SeveralRun
from deploy.processes import is_alive, wait_until
from deploy.settings import running_data_dir
from deploy.supervisor import ProcessSpec, Server, Supervisor, _Program
from deploy.supervisor_state import hold, is_held, kept_dirs, read_state
from tests.support.servers import fill, small_disk
from tests.unit.deploy.orphans import pids_left_by

# Waited for and not caught: a handler that prints may interrupt the print before it.
STAYS = (
    "import signal; told = {signal.SIGTERM}; signal.pthread_sigmask(signal.SIG_BLOCK, told)\n"
    "print('here', flush=True); signal.sigwait(told); print('bye', flush=True)"
)
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True)\n"
    "while True: signal.pause()"
)
_START_AND_DIE = """
import asyncio, sys
from pathlib import Path
from deploy.supervisor import ProcessSpec, Server, Supervisor, _Program
from deploy.supervisor_state import read_state
place = Path(sys.argv[1])
sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
specs = [ProcessSpec(name, sleeper, {}, group="worker") for name in "ab"]
async def main():
    print(*(process["pid"] for process in read_state(place)["processes"]))
    sys.stdout.flush()
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(Supervisor(specs, place, main=main).run())
"""


class Lines:
    """What the processes said, and the order of it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.said.append((name, line))

    def names(self, line: str) -> list[str]:
        """Who said it, in order."""
        return [name for name, said in self.said if said == line]


def python(
    name: str, script: str, *, group: str = "worker", once: bool = False, grace_s: float = 10.0
) -> ProcessSpec:
    """A process that runs a script."""
    return ProcessSpec(name, [sys.executable, "-c", script], {}, group=group, once=once, grace_s=grace_s)


def run(
    specs: Sequence[ProcessSpec | Server],
    place: Path,
    main: Callable[[], Awaitable[int | None]] | None,
    lines: Lines | None = None,
) -> int:
    """Run a supervisor to its end."""
    return asyncio.run(Supervisor(specs, place, main=main, say=lines or Lines()).run())


async def done() -> int:
    """A main that has nothing to do."""
    return 0


def test_what_others_stand_on_starts_first_and_stops_last(tmp_path: Path) -> None:
    lines = Lines()
    base = ProcessSpec(
        "base", [sys.executable, "-c", STAYS], {}, ready=lambda: "base" in lines.names("here"), group="base"
    )
    specs = [
        base,
        python("once", "print('here')", group="once", once=True),
        python("worker", STAYS, group="worker"),
        python("web", STAYS, group="web"),
    ]

    async def main() -> int:
        while len(lines.names("here")) < len(specs):
            await asyncio.sleep(0.01)
        return 0

    assert run(specs, tmp_path, main, lines) == 0
    assert lines.names("here")[:2] == ["base", "once"]
    assert lines.names("bye") == ["web", "worker", "base"]


def test_who_is_early_loads_meanwhile_begins_in_its_turn_and_again_at_once(tmp_path: Path) -> None:
    lines = Lines()
    early = f"import sys; print('loaded', flush=True); sys.stdin.read(); print('begun', flush=True)\n{STAYS}"
    specs = [
        # It gets ready only when the other has loaded, and says so then.
        ProcessSpec(
            "base",
            [sys.executable, "-c", STAYS],
            {},
            ready=lambda: "worker" in lines.names("loaded") and not lines.names("begun"),
            group="base",
        ),
        ProcessSpec("worker", [sys.executable, "-c", early], {}, group="worker", early=True),
    ]

    async def main() -> int:
        while not lines.names("begun"):
            await asyncio.sleep(0.01)
        for process in read_state(tmp_path)["processes"]:
            if process["name"] == "worker":
                os.kill(process["pid"], signal.SIGKILL)
        while len(lines.names("begun")) < 2:
            await asyncio.sleep(0.01)
        return 0

    assert run(specs, tmp_path, main, lines) == 0
    said = [line for _, line in lines.said if line in {"here", "loaded", "begun"}]
    assert said.index("loaded") < said.index("begun")


def test_who_is_early_ends_with_the_others_when_its_turn_never_comes(tmp_path: Path) -> None:
    lines = Lines()
    specs = [
        ProcessSpec("base", [sys.executable, "-c", "raise SystemExit(3)"], {}, group="base", once=True),
        ProcessSpec(
            "worker",
            [sys.executable, "-c", "import sys; sys.stdin.read(); print('begun', flush=True)"],
            {},
            group="worker",
            early=True,
        ),
    ]
    with pytest.raises(NotStarted, match="base"):
        run(specs, tmp_path, done, lines)
    assert lines.names("begun") == []


def test_the_answer_of_main_is_the_answer(tmp_path: Path) -> None:
    async def seven() -> int:
        return 7

    assert run([python("a", STAYS)], tmp_path, seven) == 7


def test_a_dead_process_is_started_again(tmp_path: Path) -> None:
    async def main() -> int:
        first = read_state(tmp_path)["processes"][0]["pid"]
        os.kill(first, signal.SIGKILL)
        while True:
            [process] = read_state(tmp_path)["processes"]
            if process["state"] == "running" and process["pid"] != first:
                return int(process["restarts"])
            await asyncio.sleep(0.02)

    assert run([python("a", STAYS)], tmp_path, main) == 1


def test_a_process_that_never_comes_up_ends_everything_with_its_last_words(tmp_path: Path) -> None:
    hopeless = ProcessSpec(
        "hopeless",
        [sys.executable, "-c", "raise SystemExit('no flour')"],
        {},
        ready=lambda: False,
        group="worker",
    )
    pids: list[int] = []

    async def main() -> int:
        pids.append(0)
        return 0

    with pytest.raises(NotStarted, match="no flour"):
        run([python("base", STAYS, group="base"), hopeless], tmp_path, main)
    assert pids == []
    assert not is_held(tmp_path)


def test_a_failed_single_step_ends_everything(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="code 3"):
        run([python("migrate", "raise SystemExit(3)", group="migrate", once=True)], tmp_path, done)


def test_who_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    lines = Lines()
    pids = []

    async def main() -> int:
        while not lines.names("here"):
            await asyncio.sleep(0.01)
        pids.append(read_state(tmp_path)["processes"][0]["pid"])
        return 0

    assert run([python("deaf", DEAF, grace_s=0.3)], tmp_path, main, lines) == 0
    assert not is_alive(pids[0])
    assert any("killing it" in line for _, line in lines.said)


def test_a_full_disk_ends_nothing_and_nobody_shows_the_dead_as_running(tmp_path: Path) -> None:
    lines, ballast = Lines(), tmp_path / "ballast"

    def states() -> list[tuple[str, bool]]:
        found = read_state(tmp_path)
        assert found["supervisor"] == os.getpid()
        return [(process["state"], process["pid"] is not None) for process in found["processes"]]

    async def main() -> int:
        while not lines.names("here"):
            await asyncio.sleep(0.01)
        before = read_state(tmp_path)["processes"][0]["pid"]
        fill(ballast)
        os.kill(before, signal.SIGKILL)
        while len(lines.names("here")) < 2:
            await asyncio.sleep(0.01)
        assert states() == [("ended", False)], "it is told that this one is gone, if not what came after it"
        ballast.unlink()
        while states() != [("running", True)]:
            await asyncio.sleep(0.02)
        [process] = read_state(tmp_path)["processes"]
        assert process["pid"] != before
        return int(process["restarts"])

    with small_disk(tmp_path, 1):
        assert run([python("a", STAYS)], tmp_path, main, lines) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["supervisor.lock"]
    assert any("No space left" in line for name, line in lines.said if name == "supervisor")


def test_a_log_that_is_full_ends_nothing(tmp_path: Path) -> None:
    lines = Lines()

    class Full(Lines):
        room = True

        def __call__(self, name: str, line: str) -> None:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            lines(name, line)

    say = Full()

    async def main() -> int:
        while not lines.names("here"):
            await asyncio.sleep(0.01)
        say.room = False
        os.kill(read_state(tmp_path)["processes"][0]["pid"], signal.SIGKILL)
        while read_state(tmp_path)["processes"][0]["restarts"] == 0:
            await asyncio.sleep(0.01)
        say.room = True
        while len(lines.names("here")) < 2:
            await asyncio.sleep(0.01)
        return 0

    assert run([python("a", STAYS)], tmp_path, main, say) == 0
    assert any("lines could not be written" in line for _, line in lines.said)


def test_a_server_that_cannot_be_prepared_again_is_asked_until_it_can(tmp_path: Path) -> None:
    class Unready(_Program):
        times = 0

        def prepare(self) -> None:
            self.times += 1
            if self.times in (2, 3):
                raise NotStarted(detail_en="no room for the database")

    lines = Lines()
    server = Unready(python("base", STAYS, group="base"))

    async def main() -> int:
        first = read_state(tmp_path)["processes"][0]["pid"]
        os.kill(first, signal.SIGKILL)
        while True:
            [process] = read_state(tmp_path)["processes"]
            if process["state"] == "running" and process["pid"] not in (first, None):
                return int(process["restarts"])
            await asyncio.sleep(0.02)

    assert run([server], tmp_path, main, lines) == 1
    assert server.times == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_in_order(tmp_path: Path, number: signal.Signals) -> None:
    lines = Lines()

    async def main() -> None:
        while not lines.names("here"):
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), number)

    assert run([python("a", STAYS)], tmp_path, main, lines) == 0
    assert lines.names("bye") == ["a"]


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    lines = Lines()

    async def main() -> None:
        while not lines.names("here"):
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    assert run([python("deaf", DEAF, grace_s=60.0)], tmp_path, main, lines) == 0


def test_a_signal_before_main_is_done_means_interrupted(tmp_path: Path) -> None:
    async def main() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        return 0

    assert run([python("a", STAYS)], tmp_path, main) == 130


def test_a_second_supervisor_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(AlreadyRunning, match=str(os.getpid())):
        run([], tmp_path, done)


def test_a_lock_that_a_dead_supervisor_left_does_not_matter(tmp_path: Path) -> None:
    for left in ("1", "999999999999"):
        (tmp_path / "supervisor.lock").write_text(left)
        with pytest.raises(NothingRuns):
            read_state(tmp_path)
        with hold(tmp_path):
            assert read_state(tmp_path)["supervisor"] == os.getpid()
    assert run([], tmp_path, done) == 0


def test_who_only_asks_keeps_no_supervisor_from_starting(tmp_path: Path) -> None:
    lock = tmp_path / "supervisor.lock"
    lock.touch()
    with lock.open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.1, asking.close).start()
        assert run([], tmp_path, done) == 0


def test_what_runs_is_found_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = tmp_path / "usual"
    monkeypatch.setattr("deploy.places.default_data_dir", lambda: usual)
    with hold(tmp_path / "a"), hold(tmp_path / "b"):
        ours = [folder for folder in kept_dirs() if folder.parent == tmp_path]
        assert ours == [tmp_path / "a", tmp_path / "b"]
        with pytest.raises(SeveralRun, match=str(tmp_path / "a")):
            running_data_dir(None)
        assert running_data_dir(tmp_path / "b") == tmp_path / "b"
        with hold(usual):
            assert running_data_dir(None) == usual
    assert [folder for folder in kept_dirs() if folder.parent == tmp_path] == []
    # Others may run on this machine.
    monkeypatch.setattr("deploy.supervisor_state.kept_dirs", lambda: [tmp_path / "a"])
    assert capsys.readouterr().err == ""
    assert running_data_dir(None) == tmp_path / "a"
    assert str(tmp_path / "a") in capsys.readouterr().err
    monkeypatch.setattr("deploy.supervisor_state.kept_dirs", list)
    assert running_data_dir(None) == usual


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    pids, left = pids_left_by(_START_AND_DIE, str(tmp_path))
    assert len(pids) == 2
    assert left == []
    assert wait_until(lambda: not is_held(tmp_path), 5.0)
