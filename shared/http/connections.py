"""What a client may cost that does not go on: a connection waits for it a few seconds, and only so many wait.

uvicorn bounds how long an idle connection is kept, and nothing else. So its protocol has a clock here: for
the head of a request, for a body that stops or trickles, for an answer that nobody takes, and for a
connection that does not close.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.http.networks import is_among, network_of
from shared.sections import Network

_log = structlog.get_logger()
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
_HEAD_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
_CRUMB, _CRUMBS = 64, 1000
"""A body may come in so many chunks, and one more for each so many bytes: each costs as much as a large
one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection waits for its client, in seconds."""

    tick_s: float = 1.0
    head_s: float = 10.0
    """From its beginning, or the answer before, to the end of the head of a request."""
    idle_s: float = 10.0
    """For the next byte of a body, for a byte of an answer to be taken, and for the end."""
    slowest: int = 4096
    """Bytes a second of a body, on the average once it has lasted for `idle_s`."""
    longest_head: int = 64 * 1024
    """Bytes, address included."""


@dataclass(slots=True)
class Crowd:
    """Whose connections are open. `most` of one network are; those of `proxies` and on other ports than
    `port` are not counted."""

    most: int
    port: int
    proxies: Sequence[Network] = ()
    counts: Counter[str] = field(default_factory=Counter)

    def counts_for(self, client: str, port: int | None) -> str | None:
        """What a connection is counted by, if it is."""
        return None if port != self.port or is_among(client, self.proxies) else network_of(client)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, with a clock. Made by `patient_protocol`."""

    patience: Patience
    crowd: Crowd

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._clock: asyncio.TimerHandle | None = None
        self._counted_as: str | None = None
        self._is_refused = False
        self._waits_for_head: float | None = self.loop.time()
        self._head_bytes = 0
        self._body_bytes: int | None = None
        self._chunks = 0
        self._body_waited = self._silent = self._stuck = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        client, port = (self.client or ("", 0))[0], (self.server or ("", None))[1]
        self._clock = self.loop.call_later(self.patience.tick_s, self._tick)
        self._counted_as = self.crowd.counts_for(client, port)
        if self._counted_as is None:
            return
        self.crowd.counts[self._counted_as] += 1
        if self.crowd.counts[self._counted_as] > self.crowd.most:
            self._refuse(_TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._clock is not None:
            self._clock.cancel()
        if self._counted_as is not None:
            self.crowd.counts[self._counted_as] -= 1
            if not self.crowd.counts[self._counted_as]:
                del self.crowd.counts[self._counted_as]

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._silent = 0.0
        if self._waits_for_head is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._waits_for_head is not None and self._head_bytes > self.patience.longest_head:
            self._refuse(_HEAD_TOO_LONG)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._waits_for_head, self._head_bytes = None, 0
        self._body_bytes, self._body_waited, self._chunks = 0, 0.0, 0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._chunks += 1
        self._body_bytes = (self._body_bytes or 0) + len(body)
        if self._chunks > _CRUMBS + self._body_bytes // _CRUMB:
            # The parser makes of it that the request cannot be read, and uvicorn answers so and hangs up.
            raise ValueError("a body in crumbs")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body_bytes = None

    def on_response_complete(self) -> None:
        if not self.pipeline:
            self._waits_for_head = self.loop.time()
        super().on_response_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for another protocol is answered in this one; nobody need read about it."""

    def _refuse(self, answer: bytes) -> None:
        self._is_refused = True
        self.transport.write(answer)
        self.transport.close()

    def _tick(self) -> None:
        self._clock = self.loop.call_later(self.patience.tick_s, self._tick)
        reason = self._impatience()
        if reason is not None:
            _log.info("connection_given_up", reason=reason)
            self.transport.abort()

    def _impatience(self) -> str | None:
        patience = self.patience
        if self.transport.is_closing() or self.flow.write_paused:
            self._stuck += patience.tick_s
            return "answer not taken" if self._stuck > patience.idle_s else None
        self._stuck = 0.0
        if self._waits_for_head is not None:
            waited = self.loop.time() - self._waits_for_head
            return "no request" if waited > patience.head_s else None
        if self._body_bytes is None or self.flow.read_paused:
            return None
        self._silent += patience.tick_s
        self._body_waited += patience.tick_s
        if self._silent > patience.idle_s:
            return "body stopped"
        slow = self._body_waited > patience.idle_s + self._body_bytes / patience.slowest
        return "body too slow" if slow else None


def patient_protocol(crowd: Crowd, patience: Patience | None = None) -> type[PatientProtocol]:
    """The protocol of one server, for uvicorn's setting `http`."""

    class Protocol(PatientProtocol):
        pass

    Protocol.crowd, Protocol.patience = crowd, patience or Patience()
    return Protocol
