"""Who sent a request: nobody may say so of themselves, and one line counts as one."""

from ipaddress import ip_network

import anyio
import pytest
from starlette.types import Message, Receive, Scope, Send

from shared.http.networks import ForwardedMiddleware, network_of
from shared.sections import ForwardedBy, WebSettings

XFF, FORWARDED = ForwardedBy.X_FORWARDED_FOR, ForwardedBy.FORWARDED
OURS = ("10.1.0.0/16", "fd00::/8")


def seen(
    peer: str, *headers: tuple[str, str], proxies: tuple[str, ...] = OURS, header: ForwardedBy = XFF
) -> str:
    """Whom the app takes for the client."""
    clients = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clients.append(scope["client"][0])

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    networks = [ip_network(proxy) for proxy in proxies]
    scope = {
        "type": "http",
        "client": (peer, 1234),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    anyio.run(ForwardedMiddleware(app, proxies=networks, header=header), scope, receive, send)
    return str(clients[0])


def test_by_default_nobody_is_believed() -> None:
    web = WebSettings()
    assert web.trusted_proxies == ()
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Client-IP"):
        assert seen("10.1.0.1", (header, "198.51.100.7"), proxies=()) == "10.1.0.1"


def test_who_is_no_proxy_of_ours_is_not_believed() -> None:
    assert seen("203.0.113.9", ("X-Forwarded-For", "198.51.100.7")) == "203.0.113.9"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["1.2.3.4, 198.51.100.7"], "198.51.100.7"),
        (["1.2.3.4", "198.51.100.7"], "198.51.100.7"),
        (["1.2.3.4, 198.51.100.7, 10.1.0.5"], "198.51.100.7"),
        (["198.51.100.7:5555"], "198.51.100.7"),
        (["[2001:db8::7]:5555"], "2001:db8::7"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["10.1.0.5"], "10.1.0.5"),
        (["198.51.100.7, unknown"], "10.1.0.1"),
        (["198.51.100.7, "], "10.1.0.1"),
        (["[[[,]"], "10.1.0.1"),
        ([], "10.1.0.1"),
    ],
)
def test_only_what_our_proxies_added_counts(lines: list[str], client: str) -> None:
    assert seen("10.1.0.1", *(("X-Forwarded-For", line) for line in lines)) == client


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ('for="[2001:db8::7]:4711";proto=https;by=10.1.0.1', "2001:db8::7"),
        ("for=1.2.3.4, FOR=198.51.100.7;host=x", "198.51.100.7"),
        ("for=198.51.100.7, for=10.1.0.5", "198.51.100.7"),
        ("for=198.51.100.7, for=_hidden", "10.1.0.1"),
        ("for=198.51.100.7, proto=https", "10.1.0.1"),
    ],
)
def test_the_standard_header_is_read_where_it_is_set(line: str, client: str) -> None:
    assert seen("10.1.0.1", ("Forwarded", line), header=FORWARDED) == client


def test_the_header_that_our_proxy_does_not_write_is_the_clients_word() -> None:
    forged = (("Forwarded", "for=1.2.3.4"), ("X-Forwarded-For", "198.51.100.7"))
    assert seen("10.1.0.1", *forged) == "198.51.100.7"
    assert seen("10.1.0.1", *forged, header=FORWARDED) == "1.2.3.4"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_one_line_is_one_network(address: str, network: str) -> None:
    assert network_of(address) == network
