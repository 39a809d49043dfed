"""Who sent a request, as far as addresses tell: through proxies that we know, and by network.

Believing a header is letting whoever can send it say who they are. So nobody is believed but proxies whose
networks are listed, and of what they say only the part that they or their like have added: proxies append, so
the list is read from its end up to the first address that is no proxy of ours.
"""

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.sections import ForwardedBy, Network

Address = IPv4Address | IPv6Address
_A_LINE = 64
"""Of an IPv6 address, the bits that belong to one subscriber's line (RFC 6177); the rest is theirs to
choose."""


def network_of(address: str) -> str:
    """What one client can be counted by: an IPv4 address, or the /64 of an IPv6 one; the text itself when it
    is no address (a socket without one)."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, _A_LINE), strict=False))
    return str(found) if found is not None else address


def is_among(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    found = _address(address)
    return found is not None and any(found in network for network in networks)


class ForwardedMiddleware:
    """Pure ASGI: `client` is who sent the request, told by our proxies. Without any listed, nothing is
    believed."""

    def __init__(self, app: ASGIApp, *, proxies: Sequence[Network], header: ForwardedBy) -> None:
        self._app = app
        self._proxies = proxies
        self._header = header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if self._proxies and scope["type"] == "http" and scope.get("client"):
            scope = {**scope, "client": self._client(scope)}
        await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> tuple[str, int]:
        address, port = scope["client"]
        for said in self._said(scope):
            if not is_among(address, self._proxies):
                break
            told = _address(said)
            if told is None:
                # An unknown or hidden sender (RFC 7239 section 6): all that we know is who forwarded it.
                break
            address, port = str(told), 0
        return address, port

    def _said(self, scope: Scope) -> Iterator[str]:
        """Who each proxy says it had it from, the nearest proxy first."""
        name = self._header.value.lower().encode()
        lines = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
        elements = [element.strip() for element in ",".join(lines).split(",")]
        for element in reversed(elements):
            yield element if self._header is ForwardedBy.X_FORWARDED_FOR else _for(element)


def _for(element: str) -> str:
    """The `for` parameter of one element of `Forwarded`."""
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip().strip('"')
    return ""


def _address(text: str) -> Address | None:
    """An address with or without a port and brackets; an IPv4 address that IPv6 maps is one of IPv4."""
    try:
        found = ip_address(text)
    except ValueError:
        try:
            found = ip_address(urlsplit(f"//{text}").hostname or "")
        except ValueError:
            return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
