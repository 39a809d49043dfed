"""The web process: uvicorn with our two apps, each on its own address."""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from deploy.processes import listen

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from shared.sections import WebSettings
    from shared.settings import Settings


def serve(settings: "Settings", services: Sequence[str], wait: Callable[[], None] = lambda: None) -> int:
    """Serve until SIGTERM or SIGINT: no new connections, running requests are finished; the exit code. `wait`
    is called when everything is loaded, before anything is opened.

    Raises PortTaken and SharedProcess.
    """
    import uvicorn

    from deploy.registry import KEEP_ALIVE_S
    from deploy.settings import check_process
    from deploy.web import build
    from shared.http.connections import Crowd, patient_protocol
    from shared.log import configure

    check_process(settings, services)
    configure(settings, service="web" if len(services) > 1 else services[0])
    web = settings.web
    apps = build(settings, services)
    wait()
    sockets = _sockets(web)
    public_port = sockets[0].getsockname()[1]
    crowd = Crowd(web.connections_per_network, public_port, web.trusted_proxies)
    config = uvicorn.Config(
        ByPort(apps.public, apps.internal, public_port),
        http=patient_protocol(crowd),
        loop="uvloop",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        # Who sent a request is told by `ForwardedMiddleware`, which asks whom it may believe.
        proxy_headers=False,
        # Our own configuration of logging stands; access lines hold raw paths.
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(settings.worker.drain_s),
    )
    # uvicorn finishes what runs and then raises the signal again: an orderly end, told as one.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    stopping = threading.Event()
    guards = [context.guard for context in apps.public.state.contexts.values() if context.guard is not None]
    for guard in guards:
        threading.Thread(target=guard.watch, args=(stopping,), daemon=True).start()
    server = uvicorn.Server(config)
    try:
        server.run(sockets)
    finally:
        stopping.set()
        for guard in guards:
            guard.finish()
    return 0 if server.started else 1


class ByPort:
    """Pure ASGI: what came in at the public port is the public app's, everything else is internal.

    The port is that of our own socket, not what a request says of it.
    """

    def __init__(self, public: "ASGIApp", internal: "ASGIApp", public_port: int) -> None:
        self._public = public
        self._internal = internal
        self._public_port = public_port

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Handle one connection."""
        _, port = scope.get("server") or (None, None)
        # The process's own beginning and end are the public app's.
        is_public = scope["type"] == "lifespan" or port == self._public_port
        await (self._public if is_public else self._internal)(scope, receive, send)


def _sockets(web: "WebSettings") -> list[socket.socket]:
    """The public one first. Those that were handed down are shared by several processes; then one more is
    our own, so that each can be asked how it is."""
    internal = listen(web.internal_host, web.internal_port)
    if web.sockets is None:
        return [listen(web.host, web.port), internal]
    return [*(socket.socket(fileno=number) for number in web.sockets), internal]
