"""The `onestop` command. Data goes to standard output, all else to standard error.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 not found, 4 conflict, 5 something we need is away,
130 interrupted.
"""

import os
import sys
import warnings
from importlib import import_module

OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> None:
    """Entry point of the installed command."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.stderr.write(
            f"onestop: this is Python {sys.version_info[0]}.{sys.version_info[1]}; onestop runs on 3.11 to "
            "3.13. Make the environment anew with one of them: make clean setup\n"
        )
        raise SystemExit(2)
    # Name servers that say nothing: the C library waits 10 s for each of them, longer than people do.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:2")
    # What a library says to its developers is nothing to who gives a command.
    warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated.*")
    if sys.argv[1:3] == ["run", "worker"]:
        # It makes the standard library green, which fails once pydantic (typer needs it) is loaded.
        import_module("deploy.worker")
    from deploy.commands.app import run

    raise SystemExit(run())


if __name__ == "__main__":
    main()
