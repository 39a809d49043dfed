"""Runs a command that the kernel signals when its parent dies; started as a script, imports nothing of ours.

    python -I -S pdeathsig.py SIGNAL PARENT_PID UID GID COMMAND [ARGUMENT ...]

UID and GID are -1 to stay who we are. The order matters: changing credentials clears the death signal, and a
parent that died before it was set would never be noticed without the comparison of pids. A launcher instead
of `preexec_fn`, so that threads in the parent cannot deadlock the child. Outside Linux the tie is not made.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command. Exits 127 when it cannot be run, 125 when the parent is gone already."""
    signal_number, parent, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(125)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
