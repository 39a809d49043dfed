"""A new master key takes the place of the old one: killed at any point everything opens, and the next run
goes on; somebody else's master key opens and changes nothing."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.commands.app import run
from deploy.rewrapping import rewrap
from deploy.services import sealed_tables
from shared import faults
from shared.bus.context import ServiceContext
from shared.bus.rotation import begin_rotation, finish_rotation
from shared.context import build_context
from shared.privacy.keys import ForeignMasterKey
from shared.privacy.secret_files import COMING_MASTER_KEY, MASTER_KEY
from tests.support.giving import command, give_commands_to, logging_as_before
from tests.support.installation import Installation, db_installation, secrets_dir, template_settings
from tests.support.sealing import key_states

__all__ = ["db_installation", "logging_as_before", "secrets_dir", "template_settings"]

SERVICE = "approval"
PLACE = {"table": "tasks", "row": 1, "column": "sealed_reason"}


@pytest.fixture
def made(db_installation: Installation, tmp_path: Path) -> Iterator[Installation]:
    """With secret files of its own: those of the session are others', too."""
    own = tmp_path / "secrets"
    shutil.copytree(db_installation.settings.secrets_dir, own)
    own.chmod(0o711)
    settings = db_installation.settings.model_copy(update={"secrets_dir": own})
    found = replace(db_installation, settings=settings, contexts={})
    yield found
    for context in found.contexts.values():
        context.engine.dispose()


def folder(made: Installation) -> Path:
    """Where the master key lies."""
    return made.settings.secrets_dir / SERVICE


def names(made: Installation) -> set[str]:
    """The files of master keys."""
    return {path.name for path in folder(made).iterdir() if path.name.startswith(MASTER_KEY)}


def opens(made: Installation, blob: bytes) -> bool:
    """For a process that starts now."""
    context = build_context(made.settings, SERVICE)
    try:
        return context.vault.open(blob, **PLACE) == "理由"  # type: ignore[arg-type]
    finally:
        context.engine.dispose()


def sealed(context: ServiceContext) -> bytes:
    """A reason."""
    return context.vault.seal("理由", **PLACE)  # type: ignore[arg-type]


def test_everything_opens_under_the_new_master_key_and_nothing_is_sealed_again(made: Installation) -> None:
    running = made.context(SERVICE)
    blob = sealed(running)
    before = (folder(made) / MASTER_KEY).read_bytes()
    wrapped = made.value(f"SELECT wrapped FROM {SERVICE}.data_keys")
    kept = rewrap(made.settings, SERVICE, "tester")
    assert (folder(made) / MASTER_KEY).read_bytes() != before == kept.read_bytes()
    assert (folder(made) / MASTER_KEY).stat().st_mode & 0o777 == 0o600
    assert names(made) == {MASTER_KEY, kept.name}
    assert made.value(f"SELECT wrapped FROM {SERVICE}.data_keys") != wrapped
    # A process that runs, one that reads its keys again, and one that starts.
    assert running.vault.open(sealed(running), **PLACE) == "理由"  # type: ignore[arg-type]
    running.vault.keyring.refresh()
    assert running.vault.open(blob, **PLACE) == "理由"  # type: ignore[arg-type]
    assert opens(made, blob)


def test_keys_are_rotated_before_and_after_it(made: Installation) -> None:
    context = made.context(SERVICE)
    sealed(context)
    for _ in range(2):
        begin_rotation(context, "tester")
        rewrap(made.settings, SERVICE, "tester")
        finish_rotation(context, sealed_tables(SERVICE))
    assert key_states(made, SERVICE) == {1: "retired", 2: "retired", 3: "active"}
    assert opens(made, sealed(context))


def points_of_a_rewrap(made: Installation) -> list[str]:
    """Every crash point, in order, once each."""
    seen: dict[str, None] = {}
    faults.trace_points(lambda name: seen.setdefault(name))
    try:
        rewrap(made.settings, SERVICE, "tester")
    finally:
        faults.trace_points(None)
    return [name for name in seen if name.startswith("keys.rewrap.")]


@pytest.mark.slow
def test_killed_anywhere_everything_opens_and_the_next_run_goes_on(made: Installation) -> None:
    running = made.context(SERVICE)
    blob = sealed(running)
    points = points_of_a_rewrap(made)
    assert len(points) == 7, points
    for point in points:
        before = (folder(made) / MASTER_KEY).read_bytes()
        killed = command(made, f"{point}:1:kill", "keys", "rewrap", "--service", SERVICE)
        assert killed.returncode == -9, f"{point}: {killed.stderr}"
        assert opens(made, blob), point
        running.vault.keyring.refresh()
        # A key that is made meanwhile is not lost either.
        begin_rotation(running, "tester")
        later = sealed(running)
        rewrap(made.settings, SERVICE, "tester")
        assert COMING_MASTER_KEY not in names(made)
        assert (folder(made) / MASTER_KEY).read_bytes() != before
        assert opens(made, blob), point
        assert opens(made, later), point
        finish_rotation(running, sealed_tables(SERVICE))
        blob = sealed(running)


@pytest.mark.usefixtures("logging_as_before")
def test_somebody_elses_master_key_is_refused_and_changes_nothing(
    made: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blob = sealed(made.context(SERVICE))
    wrapped = made.value(f"SELECT wrapped FROM {SERVICE}.data_keys")
    own = (folder(made) / MASTER_KEY).read_text(encoding="ascii")
    foreign = secrets.token_hex(32)
    (folder(made) / MASTER_KEY).write_text(foreign, encoding="ascii")
    give_commands_to(made, monkeypatch)
    for arguments in (["rotate"], ["rewrap"]):
        assert run(["keys", *arguments, "--service", SERVICE]) == 2
        told = capsys.readouterr()
        assert "[settings.foreign-master-key]" in told.err
        assert foreign not in told.out + told.err
    with pytest.raises(ForeignMasterKey):
        opens(made, blob)
    assert made.value(f"SELECT wrapped FROM {SERVICE}.data_keys") == wrapped
    assert key_states(made, SERVICE) == {1: "active"}
    (folder(made) / MASTER_KEY).write_text(own, encoding="ascii")
    assert opens(made, blob)


@pytest.mark.usefixtures("logging_as_before")
def test_the_coming_key_is_brought_to_other_machines_first(
    made: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blob = sealed(made.context(SERVICE))
    give_commands_to(made, monkeypatch)
    assert run(["keys", "rewrap", "--service", SERVICE, "--prepare", "--json"]) == 0
    coming = Path(json.loads(capsys.readouterr().out)["coming"])
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(made.settings.secrets_dir, elsewhere)
    there = replace(made, settings=made.settings.model_copy(update={"secrets_dir": elsewhere}))
    content = coming.read_bytes()
    assert run(["keys", "rewrap", "--service", SERVICE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["service"] == SERVICE
    assert (folder(made) / MASTER_KEY).read_bytes() == content
    assert opens(there, blob), "with the file that it was given before"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_whoever_reads_the_old_key_reads_the_new_one(made: Installation) -> None:
    sealed(made.context(SERVICE))
    os.chown(folder(made) / MASTER_KEY, 12345, 12345)
    kept = rewrap(made.settings, SERVICE, "tester")
    owners = {path.stat().st_uid for path in (kept, folder(made) / MASTER_KEY)}
    assert owners == {12345}
