"""A way to a server that a test may close, or have swallow all that is sent."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from deploy.processes import free_port

_CHUNK = 64 * 1024


class Proxy:
    """Forwards 127.0.0.1:`port` to another port of this machine."""

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())

    @contextmanager
    def refused(self) -> Iterator[None]:
        """Connections are cut, and new ones refused."""
        self._do(self._close())
        try:
            yield
        finally:
            self._do(self._listen())

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Connections stay and come about, and nothing arrives any more; afterwards all of it does."""
        self._loop.call_soon_threadsafe(self._forwarding.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._forwarding.set)

    def cut(self) -> None:
        """Every connection ends."""
        self._do(self._abort())

    def close(self) -> None:
        """For good."""
        self._do(self._close())
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        assert self._server is not None
        # A connection that is taken at the moment of `close` loses its transport half-made (Python 3.11).
        for listening in self._server.sockets:
            self._loop.remove_reader(listening)
        for _ in range(3):
            await asyncio.sleep(0)
        self._server.close()
        await self._abort()
        await self._server.wait_closed()

    async def _abort(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _end(self) -> None:
        """Also of those that came about just now."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._forwarding.wait()
                writer.write(chunk)
                await writer.drain()
        writer.transport.abort()
