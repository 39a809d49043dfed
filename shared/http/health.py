"""Is this process alive, may it get work, what does it measure: for web processes and for workers.

/healthz touches no dependency, so that a database outage never restarts a process. /readyz asks every check
at once, each at most 1 s, and is 503 from the first moment of draining.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared import metrics
from shared.db.outages import DatabaseAway
from shared.errors import AppError, Unavailable

Check = Callable[[], None]
_BOUND_S = 1.0
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """What a probe gets."""

    status: int
    media_type: str
    body: bytes


class Health:
    """The checks of one process by component name. A check raises when its component cannot be used."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        draining: Callable[[], bool] = lambda: False,
        *,
        bound_s: float = _BOUND_S,
    ) -> None:
        self._bound_s = bound_s
        self._checks = {name: _Bounded(check) for name, check in checks.items()}
        self._draining = draining

    def answer(self, path: str) -> ProbeResponse | None:
        """The answer to /healthz, /readyz or /metrics; None for any other path. May take 1 s."""
        if path == "/healthz":
            return _as_json(200, {"status": "alive"})
        if path == "/readyz":
            return self._readiness()
        if path == "/metrics":
            return ProbeResponse(200, metrics.CONTENT_TYPE, metrics.render())
        return None

    def _readiness(self) -> ProbeResponse:
        draining = self._draining()
        deadline = time.monotonic() + self._bound_s
        for check in self._checks.values():
            check.begin()
        components = {name: check.result(deadline) for name, check in self._checks.items()}
        ready = not draining and all(component["ok"] for component in components.values())
        body = {"status": "ready" if ready else "unready", "draining": draining, "components": components}
        return _as_json(200 if ready else 503, body)


class _Bounded:
    """Runs one check in a thread of its own and never a second time while the first still hangs."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._done: threading.Event | None = None
        self._result: dict[str, Any] = {}

    def begin(self) -> None:
        with self._lock:
            if self._done is not None and not self._done.is_set():
                return
            self._done = threading.Event()
            threading.Thread(target=self._run, args=(self._done,), daemon=True).start()

    def result(self, deadline: float) -> dict[str, Any]:
        done = self._done
        if done is None or not done.wait(max(0.0, deadline - time.monotonic())):
            return {"ok": False, "error": "timeout"}
        return self._result

    def _run(self, done: threading.Event) -> None:
        began = time.monotonic()
        try:
            self._check()
        except DatabaseAway as error:
            plain = error.code == Unavailable.code
            self._result = {"ok": False, "error": error.outage if plain else error.code}
        except AppError as error:
            self._result = {"ok": False, "error": error.code}
        except Exception as error:
            # Only the class: messages of drivers name hosts and users.
            self._result = {"ok": False, "error": type(error).__name__}
        else:
            self._result = {"ok": True, "ms": round((time.monotonic() - began) * 1000, 1)}
        finally:
            done.set()


def serve_health(health: Health, *, host: str, port: int) -> ThreadingHTTPServer:
    """The same doors for a worker, on a thread; `server_port` tells the port, `shutdown()` ends it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            answer = health.answer(self.path) or ProbeResponse(404, "text/plain", b"")
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds; nobody reads lines about them."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()
    return server


def _as_json(status: int, body: Mapping[str, object]) -> ProbeResponse:
    return ProbeResponse(status, _JSON, json.dumps(body).encode())
