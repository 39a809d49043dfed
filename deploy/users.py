"""The users that root's processes become: for PostgreSQL, for a private broker, for web and workers.

They are system users of this machine like those of any server, made at the first start. Whoever is not root
stays who they are.
"""

import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from deploy.errors import NotStarted, PlaceUnusable
from deploy.places import closed_above
from deploy.processes import Identity, run, wait_until

SERVICES = "onestop"
"""Web processes, workers and stand-ins."""
DATABASE = "onestop-postgres"
"""PostgreSQL of our own, and `onestop migrate`, which knows the password of its superuser."""
BROKER = "onestop-rabbitmq"

_USERADD = ("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin")
_LOCKED_S = 10.0
_CODE = Path(__file__).parents[1]


def system_user(name: str) -> Identity | None:
    """A user of that name, made when there is none; None when we are not root. Raises NotStarted."""
    if os.geteuid() != 0:
        return None
    said = ""

    def is_there() -> bool:
        nonlocal said
        if _find(name) is None:
            said = _make(name)
        return _find(name) is not None

    # Somebody else may be making one: the password file is locked then.
    if not wait_until(is_there, _LOCKED_S, every_s=0.5):
        command = " ".join((*_USERADD, name))
        raise NotStarted(
            f"无法建立系统用户 {name}（{said}）；请执行 `{command}`，或以非 root 用户启动",
            f"the system user {name} cannot be made ({said}): run `{command}`, or start onestop as another "
            "user than root",
        )
    return _find(name)


def code_users(*names: str, may_stay_root: bool = False) -> tuple[Identity | None, ...]:
    """The same for processes that run our own code; None each to stay who we are.

    Where our code or its Python lies in a closed home (root's, say), the users are shown them there. Where
    that is not possible, as in most containers, root stays root if it may. Raises NotStarted, and
    PlaceUnusable where it may not.
    """
    found = [system_user(name) for name in names]
    who = [replace(user, sees=_behind_closed_doors(user)) for user in found if user is not None]
    if not who:
        return tuple(found)
    # What one of them can do, the others can: none is a member of anything.
    said = _trouble_with_our_code(who[0])
    if said is None:
        return tuple(who)
    if may_stay_root:
        return tuple(None for _ in names)
    raise PlaceUnusable(
        f"用户 {names[0]} 无法使用 {_CODE}：{said}。请移到他人可读处（如 /opt/onestop）或以非 root 启动",
        f"the user {names[0]}, who runs our processes for root, cannot use {_CODE}: {said}. Move it where "
        "others may read it, for example to /opt/onestop, or start onestop as another user than root",
    )


def _behind_closed_doors(who: Identity) -> tuple[tuple[Path, Path], ...]:
    """Our code, its environment and its Python, as far as they lie in closed homes: each after that home."""
    needed = {Path(place).resolve() for place in (sys.base_prefix, sys.prefix, _CODE)}
    closed = {folder: closed_above(who, folder) for folder in sorted(needed)}
    return tuple((home, folder) for folder, home in closed.items() if home is not None)


def _find(name: str) -> Identity | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Identity(entry.pw_uid, entry.pw_gid)


def _make(name: str) -> str:
    program = shutil.which(_USERADD[0], path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return "there is no useradd"
    command = [program, *_USERADD[1:], name]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )
    return done.stderr.strip()


@cache
def _trouble_with_our_code(who: Identity) -> str | None:
    """What a process of this user says when it loads our command; None when it does."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        answer = run(
            [sys.executable, "-c", "import deploy.commands.app"], environment=environment, run_as=who
        )
    except subprocess.TimeoutExpired:
        return "it did not start in time"
    return None if answer.returncode == 0 else answer.stdout.strip().rpartition("\n")[2]
