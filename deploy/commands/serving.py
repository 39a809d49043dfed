"""The web process: uvicorn with our app."""

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.settings import Settings


def serve(settings: "Settings", services: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT: no new connections, running requests are finished; the exit code."""
    import uvicorn

    from deploy.web import build
    from shared.log import configure

    configure(settings, service="web" if len(services) > 1 else services[0])
    config = uvicorn.Config(
        build(settings, services),
        host=settings.web.host,
        port=settings.web.port,
        # Our own configuration of logging stands; access lines hold raw paths.
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(settings.worker.drain_s),
    )
    # uvicorn finishes what runs and then raises the signal again: an orderly end, told as one.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else 1
