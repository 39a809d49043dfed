"""A port that a server is told to listen on stays free until it does, whatever else connects meanwhile."""

import socket
import subprocess
import sys
from contextlib import ExitStack

from deploy.processes import claim_port, free_port, port_is_free, try_claim


def test_no_port_that_the_kernel_hands_out_is_told() -> None:
    with ExitStack() as held:
        handed_out = set()
        for _ in range(200):
            taken = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            handed_out.add(taken.getsockname()[1])
        told = {free_port() for _ in range(200)}
    assert max(told) < min(handed_out)


def test_a_port_that_is_listened_on_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        assert not port_is_free(port)
        assert free_port(port) != port


def test_the_preferred_port_is_told_when_it_is_free() -> None:
    wanted = free_port()
    assert free_port(wanted) == wanted


def test_a_claimed_port_is_told_to_nobody_else_until_its_process_has_ended() -> None:
    claims = (
        "import sys; from deploy.processes import claim_port; print(claim_port(), flush=True)\n"
        "sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    other = subprocess.Popen([sys.executable, "-c", claims], stdin=pipe, stdout=pipe, text=True)
    with other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert port_is_free(port)
        assert not try_claim(port)
        assert free_port(port) != port
        assert claim_port(port) != port
    assert try_claim(port)
    assert try_claim(port), "its own claim is no obstacle"
    assert free_port(port) != port
