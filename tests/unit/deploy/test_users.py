"""Whoever starts us as root, nothing runs as root that need not; whoever does not, stays who they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import users
from deploy.errors import NotStarted, PlaceUnusable
from deploy.processes import Identity, run
from deploy.users import code_users, system_user

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user cannot become anybody")


def test_without_root_nobody_becomes_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert system_user(users.DATABASE) is None
    assert code_users(users.SERVICES, users.DATABASE) == (None, None)


def test_a_user_that_cannot_be_made_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(users, "_LOCKED_S", 0.0)
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(NotStarted, match=r"useradd --system .* onestop-nothing"):
        system_user("onestop-nothing")


@only_root
def test_the_users_are_three_and_none_is_root() -> None:
    found = [system_user(name) for name in (users.SERVICES, users.DATABASE, users.BROKER)]
    assert len({who.uid for who in found if who is not None} - {0}) == 3


@only_root
def test_our_code_runs_as_the_user_wherever_it_lies() -> None:
    [who] = code_users(users.SERVICES)
    assert who is not None
    script = "import os, deploy.commands.app; print(os.getuid(), os.getgroups())"
    answer = run([sys.executable, "-c", script], run_as=who)
    assert answer.stdout.split() == [str(who.uid), "[]"], answer.stdout


@only_root
def test_of_a_closed_home_only_the_folder_is_shown_and_to_this_process_only(scratch: Path) -> None:
    home = scratch / "home"
    shown = home / "a" / "b"
    shown.mkdir(parents=True)
    (shown / "code.txt").write_text("code")
    (home / "secret.txt").write_text("secret")
    home.chmod(0o700)
    who = system_user(users.SERVICES)
    assert who is not None
    assert run(["cat", shown / "code.txt"], run_as=who).returncode != 0
    who = Identity(who.uid, who.gid, ((home, shown),))
    assert run(["cat", shown / "code.txt"], run_as=who).stdout == "code"
    assert run(["cat", home / "secret.txt"], run_as=who).returncode != 0
    assert run(["touch", home / "another"], run_as=who).returncode != 0
    assert {path.name for path in home.iterdir()} == {"a", "secret.txt"}


@only_root
def test_where_only_root_can_read_our_code_root_stays_root_if_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_trouble_with_our_code", lambda who: "Permission denied")
    assert code_users(users.SERVICES, users.DATABASE, may_stay_root=True) == (None, None)
    with pytest.raises(PlaceUnusable, match="/opt/onestop"):
        code_users(users.SERVICES)


@only_root
def test_what_the_launcher_cannot_show_is_said() -> None:
    who = system_user(users.SERVICES)
    assert who is not None
    gone = Identity(who.uid, who.gid, ((Path("/nowhere"), Path("/nowhere/at/all")),))
    answer = run(["true"], run_as=gone)
    assert (answer.returncode, "cannot show" in answer.stdout) == (126, True)


def test_the_launcher_needs_nothing_of_ours() -> None:
    script = Path(users.__file__).with_name("pdeathsig.py")
    arguments = ["9", str(os.getpid()), "-1", "-1", "", "true"]
    assert subprocess.run([sys.executable, "-I", "-S", script, *arguments], check=False).returncode == 0
