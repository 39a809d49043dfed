"""Asks a process of ours on this machine whether it is ready."""

import http.client
import sys


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


def main(arguments: list[str]) -> int:
    """For container health checks: `python -m deploy.probe PORT`; 0 when the process is ready."""
    try:
        return 0 if is_ready(int(arguments[0])) else 1
    except OSError as error:
        sys.stderr.write(f"not reachable: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
