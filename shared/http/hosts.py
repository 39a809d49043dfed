"""Only requests for us: what somebody else's name is in the Host header of, is not ours to answer.

A page, a cookie or a link that is made for a foreign name is somebody's trap, and a cache in between may keep
it for others. No answer of ours depends on the name besides: redirects are paths.
"""

from collections.abc import Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import AppError
from shared.http.problems import problem_response

_PROBE = "/healthz"


class ForeignHost(AppError):
    """The request is for another server than this one (RFC 9110 section 15.5.20)."""

    code = "request.foreign-host"
    status = 421
    title_zh = "请求的主机名不是本站"
    title_en = "This server is not known by the name that the request asks for"


class HostMiddleware:
    """Pure ASGI: 421 for every name that is not among `hosts`; the port does not matter. Probes ask by
    whatever address a process has just got."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["path"] != _PROBE and _names_of(scope) - self._hosts:
            await problem_response(Request(scope), ForeignHost())(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _names_of(scope: Scope) -> set[str]:
    """Every name that the request says, "" when it says none: of two, a proxy may have looked at the
    other."""
    sent = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
    return {_without_port(name).lower() for name in sent or [""]}


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
