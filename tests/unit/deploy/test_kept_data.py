"""Data that another build's migrations made are not touched: refused, or put aside when a demo left them."""

import json
from pathlib import Path

import pytest

from deploy import kept_data
from deploy.demo import put_aside_another_builds
from deploy.errors import MadeByAnotherBuild
from deploy.installation import Installation, InstallationOptions, remember_settings
from deploy.kept_data import check_kept, fingerprints, note_made_by

MIGRATION = "services/intake/migrations/versions/0001_intake.py"
SQL = '"""Tables."""\n\ndef upgrade():\n    op.execute("CREATE TABLE a ()")  # the first\n'


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A data directory with a database of this build."""
    place = tmp_path / "onestop"
    (place / "postgres" / "data").mkdir(parents=True)
    note_made_by(place)
    return place


def edit_note(place: Path, **changed: str) -> None:
    """Let other migrations have made the data."""
    note = place / "migrations.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | changed))


def test_data_of_this_build_are_used(kept: Path) -> None:
    assert MIGRATION in fingerprints()
    check_kept(kept)


def test_a_new_place_is_used(tmp_path: Path) -> None:
    check_kept(tmp_path)


def test_data_of_a_build_with_another_migration_are_refused_with_the_line_that_helps(kept: Path) -> None:
    edit_note(kept, **{MIGRATION: "another"})
    with pytest.raises(MadeByAnotherBuild) as refused:
        check_kept(kept)
    assert MIGRATION in refused.value.detail_en
    assert f"mv {kept} {kept}.before-1" in refused.value.detail_en


def test_data_of_a_later_build_are_refused(kept: Path) -> None:
    edit_note(kept, **{"services/intake/migrations/versions/9999_later.py": "later"})
    with pytest.raises(MadeByAnotherBuild, match="9999_later"):
        check_kept(kept)


def test_data_from_before_such_notes_are_refused(kept: Path) -> None:
    (kept / "migrations.json").unlink()
    with pytest.raises(MadeByAnotherBuild, match="an early build"):
        check_kept(kept)


def test_a_migration_that_is_new_here_is_no_obstacle(kept: Path) -> None:
    note = kept / "migrations.json"
    note.write_text(json.dumps({name: sum_ for name, sum_ in fingerprints().items() if name != MIGRATION}))
    check_kept(kept)


def test_only_what_a_migration_does_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_data, "_HOME", tmp_path)
    path = tmp_path / MIGRATION
    path.parent.mkdir(parents=True)
    path.write_text(SQL)
    before = fingerprints()
    path.write_text(SQL.replace("Tables", "All tables").replace("  # the first", ""))
    assert fingerprints() == before
    path.write_text(SQL.replace("TABLE a", "TABLE b"))
    assert fingerprints() != before


def test_a_demo_puts_aside_what_a_demo_of_another_build_left(kept: Path) -> None:
    remember_settings(kept, {"ONESTOP_ENVIRONMENT": "demo"})
    (kept.parent / "onestop.before-1").mkdir()
    edit_note(kept, **{MIGRATION: "another"})
    put_aside_another_builds(kept)
    assert not kept.exists()
    assert (kept.parent / "onestop.before-2" / "postgres" / "data").is_dir()


def test_a_demo_leaves_its_own_data_where_they_are(kept: Path) -> None:
    remember_settings(kept, {"ONESTOP_ENVIRONMENT": "demo"})
    put_aside_another_builds(kept)
    assert kept.exists()


def test_a_demo_does_not_move_what_people_made(kept: Path) -> None:
    remember_settings(kept, {"ONESTOP_ENVIRONMENT": "production"})
    edit_note(kept, **{MIGRATION: "another"})
    put_aside_another_builds(kept)
    assert kept.exists()
    with pytest.raises(MadeByAnotherBuild):
        Installation(InstallationOptions(kept, environment="demo"))


def test_a_demo_on_a_database_elsewhere_moves_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESTOP_DB__HOST", "db.test")
    remember_settings(kept, {"ONESTOP_ENVIRONMENT": "demo"})
    edit_note(kept, **{MIGRATION: "another"})
    put_aside_another_builds(kept)
    assert kept.exists()
