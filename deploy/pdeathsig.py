"""Runs a command that the kernel signals when its parent dies; started as a script, imports nothing of ours.

    python -I -S pdeathsig.py SIGNAL PARENT_PID UID GID SEES COMMAND [ARGUMENT ...]

UID and GID are -1 to stay who we are. SEES are folders that lie in homes closed to that user, each after the
closed folder, in lines: the command gets mounts of its own in which these are all there is of that home. The
order matters: changing credentials clears the death signal, and a parent that died before it was set would
never be noticed without the comparison of pids. A launcher instead of `preexec_fn`, so that threads in the
parent cannot deadlock the child. Outside Linux the tie is not made.
"""

import ctypes
import os
import sys

# os.execvp imports it, when this user may not be able to read it any more.
import warnings  # noqa: F401

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18


def main(arguments: list[str]) -> None:
    """Become the command. Exits 127 when it cannot be run, 126 when it cannot be shown what it needs, and 125
    when the parent is gone already."""
    signal_number, parent, uid, gid = (int(argument) for argument in arguments[:4])
    sees, command = arguments[4].splitlines(), arguments[5:]
    try:
        if sees:
            _show(sees[::2], sees[1::2])
    except OSError as error:
        sys.stderr.write(f"cannot show {sees[1]} to user {uid}: {error.strerror}\n")
        sys.exit(126)
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


def _show(closed: list[str], folders: list[str]) -> None:
    """For this process only, let the closed folders hold nothing but these."""
    _call("unshare", _CLONE_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    opened = [os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in folders]
    os.umask(0o022)
    for home in sorted(set(closed)):
        _call("mount", b"tmpfs", os.fsencode(home), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=0711,size=64k")
    for folder, descriptor in zip(folders, opened, strict=True):
        os.makedirs(folder, exist_ok=True)
        source = b"/proc/self/fd/%d" % descriptor
        _call("mount", source, os.fsencode(folder), None, _MS_BIND | _MS_REC, None)
        os.close(descriptor)


def _call(function: str, *arguments: bytes | int | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
