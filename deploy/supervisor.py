"""Keeps the processes of one installation: order, health gates, prefixed logs, restarts, a clean stop.

Each child is tied to us by the kernel, so that a SIGKILL of the supervisor leaves nothing behind.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Protocol

from deploy import processes
from deploy.errors import NotStarted
from deploy.processes import Identity
from deploy.supervisor_state import STATE_FILE, State, Status, hold, write_state
from shared.errors import AppError

STOP_FIRST = ("web", "worker")
"""Groups in the order in which they stop; what they stand on stops after them, last started first. Neighbours
of these groups start side by side."""

_POLL_S = 0.1
_WRITE_AGAIN_S = 1.0
_BACKOFF_S = (0.2, 5.0)
_SETTLED_S = 10.0
_LINE_BYTES = 64 * 1024
_EARLY_DEATHS = 3
_LAST_LINES = 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A program to keep running. `env` is its whole environment; `ready` None: started is ready.

    `ready` is asked in a thread, so it may wait a little; an OSError from it means "not yet". With `once` it
    is no server: it must end with code 0 before the next one starts. `run_as` None stays who we are.
    `health_port`: where others ask for its /readyz. `sockets`: file descriptors that it inherits each time.
    `early`: it is started at once, to load what it needs while others get ready, and does nothing before its
    standard input ends: then its turn has come.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready: Callable[[], bool] | None = None
    group: str = "other"
    grace_s: float = 30.0
    once: bool = False
    run_as: Identity | None = None
    health_port: int | None = None
    sockets: Sequence[int] = ()
    early: bool = False


class Server(Protocol):
    """A server with a life of its own (PostgresServer, RabbitNode); its group is its name."""

    name: str
    stop_signal: signal.Signals
    grace_s: float

    def launch(self, output: int) -> subprocess.Popen[bytes]:
        """Start without waiting, on the main thread."""
        ...

    def is_ready(self) -> bool:
        """Does it answer?"""
        ...

    def prepare(self) -> None:
        """What must be done once it answers; safe to repeat."""
        ...

    def cleanup(self) -> None:
        """What must be done once it has ended."""
        ...


class _Program:
    """A ProcessSpec seen as a Server."""

    stop_signal = signal.SIGTERM

    def __init__(self, spec: ProcessSpec) -> None:
        self.name = spec.name
        self.grace_s = spec.grace_s
        self._spec = spec
        self._its_turn = not spec.early
        self._gate: tuple[int, int] | None = None

    def launch(self, output: int) -> subprocess.Popen[bytes]:
        if self._gate is None and not self._its_turn:
            self._gate = os.pipe()
        return processes.spawn(
            self._spec.argv,
            output=output,
            source=self._gate[0] if self._gate is not None else subprocess.DEVNULL,
            environment=self._spec.env,
            run_as=self._spec.run_as,
            # Another user may not be able to enter the folder that we were started in.
            cwd=Path("/") if self._spec.run_as else None,
            hand_down=self._spec.sockets,
        )

    def take_turn(self) -> None:
        """Its turn has come, also for those that are started in its place."""
        self._its_turn = True
        if self._gate is not None:
            for end in self._gate:
                os.close(end)
            self._gate = None

    def is_ready(self) -> bool:
        return self._spec.ready is None or self._spec.ready()

    def prepare(self) -> None:
        return None

    def cleanup(self) -> None:
        self.take_turn()


class _Kept:
    """One process that is being kept, over all its restarts."""

    def __init__(
        self,
        server: Server,
        group: str,
        once: bool = False,
        health_port: int | None = None,
        take_turn: Callable[[], None] | None = None,
    ) -> None:
        self.server = server
        self.take_turn = take_turn
        self.once = once
        self.status = Status(server.name, group, health_port=health_port)
        self.child: subprocess.Popen[bytes] | None = None
        self.was_up = False
        self.early_deaths = 0
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.is_up = asyncio.Event()
        self.stop_asked = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        return self.child is not None and self.child.poll() is None


class Supervisor:
    """Runs `specs` until a signal; `data_dir` holds the lock and the state file that `onestop ps` reads.

    `ready_s`: how long each of them may take to become ready at the start. `say`: gets each log line with the
    name of the process. `main` runs beside, once all are ready: when it returns a number everything stops and
    `run` returns that number; None keeps everything up. Run it in the main thread.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec | Server],
        data_dir: Path,
        *,
        ready_s: float = 120.0,
        say: Callable[[str, str], None] | None = None,
        main: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        self._kept = [_kept(spec) for spec in specs]
        names = [kept.status.name for kept in self._kept]
        if len(set(names)) != len(names):
            raise ValueError(f"process names must differ: {names}")
        self._data_dir = data_dir
        self._ready_s = ready_s
        self._print = say or PrefixedLines(max(map(len, names), default=0))
        self._main = main
        self._signals = 0
        self._stopping = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()
        self._unwritten = False
        self._unsaid = 0

    async def run(self) -> int:
        """Start all, keep them, and stop them at SIGINT, SIGTERM or SIGHUP; a second signal kills.

        Returns what `main` returned, 130 when a signal came before it was done, else 0. Raises
        AlreadyRunning, or NotStarted when one did not become ready (all are stopped then), or what `main`
        raised.
        """
        with hold(self._data_dir):
            loop = asyncio.get_running_loop()
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._on_signal)
            writing = asyncio.create_task(self._write_again())
            try:
                await self._start_all()
                return await self._stay()
            finally:
                await self._stop_all()
                writing.cancel()
                for number in _SIGNALS:
                    loop.remove_signal_handler(number)
                (self._data_dir / STATE_FILE).unlink(missing_ok=True)

    def request_stop(self) -> None:
        """What the first signal does."""
        self._stopping.set()

    def _on_signal(self) -> None:
        self._signals += 1
        self.request_stop()
        if self._signals > 1:
            self._say("supervisor", "second signal: killing all")
            for kept in self._kept:
                _kill(kept)

    async def _stay(self) -> int:
        if self._main is None or self._stopping.is_set():
            await self._stopping.wait()
            return 0
        main = asyncio.ensure_future(self._main())
        await _first_of(_outcome(main), self._stopping.wait())
        if not main.done():
            main.cancel()
            await asyncio.wait([main])
            return 130
        code = main.result()
        if code is not None:
            return code
        await self._stopping.wait()
        return 0

    async def _start_all(self) -> None:
        for kept in self._kept:
            if kept.take_turn is not None:
                kept.task = asyncio.create_task(self._keep(kept), name=kept.status.name)
        for side_by_side in _stages(self._kept):
            if self._stopping.is_set():
                return
            starting = [asyncio.ensure_future(self._start(kept)) for kept in side_by_side]
            try:
                await asyncio.gather(*starting)
            finally:
                for start in starting:
                    start.cancel()

    async def _start(self, kept: _Kept) -> None:
        if kept.task is None:
            kept.task = asyncio.create_task(self._keep(kept), name=kept.status.name)
        if kept.take_turn is not None:
            kept.take_turn()
        await _first_of(
            kept.is_up.wait(), self._stopping.wait(), _outcome(kept.task), timeout_s=self._ready_s
        )
        if kept.task.done():
            kept.task.result()
        elif not kept.is_up.is_set() and not self._stopping.is_set():
            raise NotStarted(
                f"{kept.status.name} 在 {self._ready_s:.0f} 秒内未就绪，原因见上面的日志",
                f"{kept.status.name} was not ready within {self._ready_s:.0f} s; its log lines say why",
            )

    async def _keep(self, kept: _Kept) -> None:
        pause = _BACKOFF_S[0]
        while not kept.stop_asked.is_set():
            started = time.monotonic()
            try:
                await self._live(kept)
            except (AppError, OSError) as error:
                if not kept.was_up:
                    raise
                self._say(kept.status.name, str(error))
            if kept.stop_asked.is_set():
                break
            pause = _BACKOFF_S[0] if time.monotonic() - started > _SETTLED_S else pause
            code = kept.child.returncode if kept.child else None
            if kept.once and code == 0:
                break
            self._refuse_hopeless(kept, code)
            self._say(kept.status.name, f"ended with code {code}; starting again in {pause:.1f} s")
            kept.status.restarts += 1
            self._note(kept, State.BACKOFF)
            await _first_of(kept.stop_asked.wait(), timeout_s=pause)
            pause = min(pause * 2, _BACKOFF_S[1])
        kept.server.cleanup()
        self._note(kept, State.STOPPED)

    def _refuse_hopeless(self, kept: _Kept, code: int | None) -> None:
        if kept.was_up:
            return
        kept.early_deaths += 1
        if kept.once or kept.early_deaths >= _EARLY_DEATHS:
            kept.server.cleanup()
            self._note(kept, State.STOPPED)
            last = "\n".join(kept.last_lines)
            raise NotStarted(
                f"{kept.status.name} 启动失败（退出码 {code}），最后输出见下",
                f"{kept.status.name} ended with code {code} before it was ready. It said at last:\n{last}",
            )

    async def _live(self, kept: _Kept) -> None:
        """One life of a process, from its start to its end."""
        reading, writing = os.pipe()
        try:
            kept.child = kept.server.launch(writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        pump = asyncio.create_task(self._pump(kept, reading))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        kept.status.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._note(kept, State.STARTING)
        while kept.runs and not (kept.once or kept.is_up.is_set() or kept.stop_asked.is_set()):
            if await _answers(kept.server) and await self._prepare(kept):
                self._note(kept, State.RUNNING)
                kept.was_up = True
                kept.is_up.set()
            else:
                await asyncio.sleep(_POLL_S)
        while kept.runs:
            await asyncio.sleep(_POLL_S)
        kept.is_up.clear()
        # Its last words first, then what becomes of it.
        await asyncio.wait([pump], timeout=1.0)

    async def _prepare(self, kept: _Kept) -> bool:
        if not kept.runs:
            return False
        try:
            await asyncio.to_thread(kept.server.prepare)
        except (AppError, OSError) as error:
            if not kept.was_up:
                raise
            # It lives, and is asked again: a full disk, for one, passes.
            self._say(kept.status.name, str(error))
            return False
        return True

    async def _pump(self, kept: _Kept, reading: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(reading, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        rest = b""
        while chunk := await reader.read(_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._hear(kept, line)
        if rest:
            self._hear(kept, rest)
        transport.close()

    def _hear(self, kept: _Kept, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        kept.last_lines.append(text)
        self._say(kept.status.name, text)

    def _say(self, name: str, line: str) -> None:
        try:
            if self._unsaid:
                self._print("supervisor", f"{self._unsaid} lines could not be written")
                self._unsaid = 0
            self._print(name, line)
        except BrokenPipeError:
            # Nobody reads us any more: that terminal is gone, and with it who asked for all this.
            self.request_stop()
        except OSError:
            # What we write to is full; nobody is kept the less for that.
            self._unsaid += 1

    async def _stop_all(self) -> None:
        self._stopping.set()
        for phase in _phases(self._kept):
            await asyncio.gather(*(self._stop(kept) for kept in phase))
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=1.0)

    async def _stop(self, kept: _Kept) -> None:
        kept.stop_asked.set()
        if kept.task is None:
            return
        if kept.runs and kept.child is not None:
            self._note(kept, State.STOPPING)
            kept.child.send_signal(kept.server.stop_signal)
        done, _ = await asyncio.wait([kept.task], timeout=kept.server.grace_s)
        if not done:
            self._say(kept.status.name, f"did not stop within {kept.server.grace_s:.0f} s: killing it")
            _kill(kept)
            await asyncio.wait([kept.task])
        kept.task.exception()

    def _note(self, kept: _Kept, state: State) -> None:
        kept.status.state = state
        kept.status.pid = kept.child.pid if kept.runs and kept.child else None
        self._write_state()

    def _write_state(self) -> None:
        """Best effort: nobody is kept the less because it cannot be written down."""
        try:
            write_state(self._data_dir, [one.status for one in self._kept])
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                self._say("supervisor", f"{self._data_dir / STATE_FILE}: {error.strerror}; trying again")
            self._unwritten = True

    async def _write_again(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_AGAIN_S)
            if self._unwritten:
                self._write_state()


class PrefixedLines:
    """Writes `name | line` to standard error."""

    def __init__(self, width: int = 0, stream: IO[str] | None = None) -> None:
        self._width = width
        self._stream = stream or sys.stderr

    def __call__(self, name: str, line: str) -> None:
        self._stream.write(f"{name:<{self._width}} | {line}\n")
        self._stream.flush()


def _kept(spec: ProcessSpec | Server) -> _Kept:
    if isinstance(spec, ProcessSpec):
        program = _Program(spec)
        take_turn = program.take_turn if spec.early else None
        return _Kept(program, spec.group, spec.once, spec.health_port, take_turn)
    return _Kept(spec, spec.name)


def _stages(kept: Sequence[_Kept]) -> Iterator[list[_Kept]]:
    for together, group in groupby(kept, lambda one: one.status.group in STOP_FIRST):
        if together:
            yield list(group)
        else:
            yield from ([one] for one in group)


def _phases(kept: Sequence[_Kept]) -> list[list[_Kept]]:
    first = [[one for one in kept if one.status.group == group] for group in STOP_FIRST]
    return first + [[one] for one in reversed(kept) if one.status.group not in STOP_FIRST]


def _kill(kept: _Kept) -> None:
    if kept.runs and kept.child is not None:
        processes.kill_session(kept.child)


async def _answers(server: Server) -> bool:
    try:
        return await asyncio.to_thread(server.is_ready)
    except OSError:
        return False


async def _outcome(task: asyncio.Future[Any]) -> None:
    await asyncio.wait([task])


async def _first_of(*waits: Any, timeout_s: float | None = None) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
