"""Asks a process of ours on this machine whether it is ready."""

import http.client


def is_ready(port: int, path: str = "/readyz", timeout_s: float = 2.0) -> bool:
    """True for a 200. Raises OSError while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except http.client.HTTPException:
        return False
    finally:
        connection.close()
