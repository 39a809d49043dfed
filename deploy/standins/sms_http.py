"""The HTTP side of the SMS stand-in: plain answers, and every way of not giving one."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from deploy.standins.fault_switch import Door, Fault, Garbage, Kind, Plan
from deploy.standins.pages import list_page, shown
from deploy.standins.sms_core import Reply, SmsGateway

_LONGEST_REQUEST = 64 * 1024
_GARBAGE = {
    Garbage.HTML: b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    Garbage.HALF: b'{"Code": "OK", "Bi',
    Garbage.EMPTY: b"",
    Garbage.LIST: b'["OK"]',
    Garbage.NO_REFERENCE: b'{"Code": "OK", "Message": "OK"}',
}
_AFTER = (Kind.ERROR_AFTER, Kind.RESET_AFTER, Kind.GARBAGE_AFTER)


class Gate:
    """Whether anybody listens."""

    def __init__(self) -> None:
        self._shut_until = 0.0
        self.server: ThreadingHTTPServer | None = None

    def shut(self, seconds: float) -> None:
        """Stop listening for that long."""
        self._shut_until = time.monotonic() + seconds
        if self.server is not None:
            self.server.shutdown()

    def left_s(self) -> float:
        """How long the gate stays shut."""
        return max(0.0, self._shut_until - time.monotonic())


def make_handler(gateway: SmsGateway, gate: Gate) -> type[BaseHTTPRequestHandler]:
    """The handler class of one gateway."""

    class Handler(_Handler):
        def __init__(self, *args: Any) -> None:
            self.gateway, self.gate = gateway, gate
            super().__init__(*args)

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sms-standin"
    # Nagle and delayed acknowledgement together cost 40 ms an answer.
    disable_nagle_algorithm = True
    gateway: SmsGateway
    gate: Gate

    def do_GET(self) -> None:
        if self.path == "/":
            return self._raw(200, self._page(), "text/html; charset=utf-8")
        if self.path == "/__healthz":
            return self._json(200, {"status": "ok"})
        if self.path == "/__ledger":
            return self._json(200, {"taken": [asdict(taken) for taken in self.gateway.ledger.all()]})
        if self.path == "/__faults":
            return self._json(200, self._faults())
        return self._json(404, {"error": "no such door"})

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            self.close_connection = True
            return self._json(413, {"error": "too long"})
        if self.path == "/__faults":
            return self._set_faults(body)
        if self.path != "/":
            return self._json(404, {"error": "no such door"})
        if self.gate.left_s() > 0:
            return self._reset()
        return self._gateway_call(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: request lines are of no use here."""

    def _page(self) -> bytes:
        """The messages without their phones, which nobody kept."""
        columns = ("时间 Time", "模板 Template", "参数 Parameters")
        taken = self.gateway.ledger.all()[::-1]
        rows = (
            (shown(one.at), one.template, "\n".join(map(" = ".join, one.params.items()))) for one in taken
        )
        return list_page("演示短信 Demo text messages", columns, rows)

    def _gateway_call(self, params: dict[str, str]) -> None:
        now = datetime.now(UTC)
        door = self.gateway.door_of(params, now)
        if isinstance(door, Reply):
            return self._json(door.status, door.body)
        fault = self.gateway.switch.meet(door)
        if fault is None:
            reply = self.gateway.act(door, params, now)
            return self._json(reply.status, reply.body)
        if fault.kind in (Kind.SLOW, Kind.LIE):
            return self._late_or_lying(fault, door, params)
        if fault.kind in _AFTER:
            self.gateway.act(door, params, now)
        return self._misbehave(fault)

    def _late_or_lying(self, fault: Fault, door: Door, params: dict[str, str]) -> None:
        if fault.kind is Kind.SLOW:
            threading.Event().wait(fault.seconds)
        lie = fault.says if fault.kind is Kind.LIE else None
        reply = self.gateway.act(door, params, datetime.now(UTC), lie)
        self._json(reply.status, reply.body)

    def _misbehave(self, fault: Fault) -> None:
        ways: dict[Kind, Callable[[], None]] = {
            Kind.ERROR_BEFORE: lambda: self._raw(503, b"<html>503</html>", "text/html"),
            Kind.ERROR_AFTER: lambda: self._raw(500, b"<html>500</html>", "text/html"),
            Kind.RESET_BEFORE: self._reset,
            Kind.RESET_AFTER: self._reset,
            Kind.GARBAGE_BEFORE: lambda: self._garbage(fault),
            Kind.GARBAGE_AFTER: lambda: self._garbage(fault),
            Kind.LIMIT: lambda: self._json(200, {"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "limit"}),
            Kind.THROTTLE: lambda: self._raw(
                429, b"slow down", "text/plain", {"Retry-After": str(round(fault.seconds))}
            ),
            Kind.REFUSE: lambda: self._refuse(fault.seconds),
        }
        ways[fault.kind]()

    def _garbage(self, fault: Fault) -> None:
        plain = _GARBAGE.get(fault.garbage)
        if plain is not None:
            return self._raw(200, plain, "text/html" if fault.garbage is Garbage.HTML else "application/json")
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        try:
            if fault.garbage is Garbage.ENDLESS:
                self._flood()
            else:
                self._drip(fault.seconds)
        except OSError:
            # Whoever asked has gone, as they should.
            return

    def _flood(self) -> None:
        for _ in range(1024):
            self.wfile.write(b'"' + b"a" * 65534 + b'"')

    def _drip(self, seconds: float) -> None:
        pause = threading.Event()
        for _ in range(max(1, round(seconds / 0.1))):
            self.wfile.write(b" ")
            pause.wait(0.1)
        self.wfile.write(b'{"Code": "OK", "BizId": "1^0"}')

    def _refuse(self, seconds: float) -> None:
        self._reset()
        self.gate.shut(seconds)

    def _reset(self) -> None:
        """Close with RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def _faults(self) -> dict[str, Any]:
        plan, left = self.gateway.switch.plan()
        return {**plan.model_dump(mode="json"), "left": left, "met": self.gateway.switch.met()}

    def _set_faults(self, body: bytes) -> None:
        try:
            plan = Plan.model_validate_json(body)
        except ValidationError as error:
            return self._json(400, {"errors": error.errors(include_url=False, include_context=False)})
        self.gateway.switch.set(plan)
        return self._json(200, self._faults())

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LONGEST_REQUEST:
            return None
        return self.rfile.read(int(length))

    def _json(self, status: int, body: dict[str, Any]) -> None:
        self._raw(status, json.dumps(body, ensure_ascii=False).encode(), "application/json; charset=utf-8")

    def _raw(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            # The client gave up waiting; what was taken stays taken.
            self.close_connection = True
