"""The witness outside the database: a file that is the old one or the new one, and never goes back."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import create_engine
from structlog.testing import capture_logs

from shared.bus.guard import Guard
from shared.bus.witness import FileWitness, Mark, NotAsWitnessed, WitnessMissing, WitnessUnusable

EPOCH, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture
def witness(tmp_path: Path) -> FileWitness:
    return FileWitness(tmp_path / "intake")


def test_there_is_none_before_one_was_kept(witness: FileWitness) -> None:
    assert witness.read() is None
    witness.keep(Mark(EPOCH, 1, {"case_serial": 1000}))
    assert witness.read() == Mark(EPOCH, 1, {"case_serial": 1000})


def test_within_an_epoch_nothing_goes_back(witness: FileWitness) -> None:
    witness.keep(Mark(EPOCH, 5, {"case_serial": 1000}))
    witness.keep(Mark(EPOCH, 3, {"case_serial": 2000}))
    assert witness.read() == Mark(EPOCH, 5, {"case_serial": 2000})


def test_many_at_once_lose_nothing(witness: FileWitness) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: witness.keep(Mark(EPOCH, n, {f"s{n % 3}": n})), range(1, 60)))
    assert witness.read() == Mark(EPOCH, 59, {"s0": 57, "s1": 58, "s2": 59})


def test_another_epoch_is_begun_on_purpose_only(witness: FileWitness) -> None:
    witness.keep(Mark(EPOCH, 5, {}))
    with pytest.raises(NotAsWitnessed):
        witness.keep(Mark(OTHER, 6, {}))
    assert witness.read() == Mark(EPOCH, 5, {})
    witness.keep(Mark(OTHER, 2, {}), new_epoch=True)
    assert witness.read() == Mark(OTHER, 2, {})


def test_what_a_power_cut_left_half_written_is_no_witness(witness: FileWitness) -> None:
    witness.keep(Mark(EPOCH, 1, {}))
    witness.path.with_name("witness.json.half").write_text('{"epo', encoding="ascii")
    assert witness.read() == Mark(EPOCH, 1, {})
    witness.keep(Mark(EPOCH, 2, {}))
    assert witness.read() == Mark(EPOCH, 2, {})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        json.dumps({"epoch": "x", "mark": 1, "reserved": {}}),
        '{"epoch": 1}',
        "\xff",
        json.dumps({"epoch": str(EPOCH), "mark": 2**63, "reserved": {}}),
        json.dumps({"epoch": str(EPOCH), "mark": -1, "reserved": {}}),
        f'{{"epoch": "{EPOCH}", "mark": 1e999, "reserved": {{}}}}',
        f'{{"epoch": "{EPOCH}", "mark": 1, "reserved": {{"case_serial": 1e999}}}}',
        "[" * 200_000,
    ],
)
def test_what_is_not_what_was_written_is_told(witness: FileWitness, content: str) -> None:
    witness.keep(Mark(EPOCH, 1, {}))
    witness.path.write_text(content, encoding="utf-8")
    with pytest.raises(WitnessUnusable) as found:
        witness.read()
    assert "delete the file, then run `onestop restored`" in found.value.detail_en
    with pytest.raises(WitnessUnusable):
        witness.keep(Mark(EPOCH, 2, {}))


def test_a_place_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "intake").write_text("no folder", encoding="ascii")
    witness = FileWitness(tmp_path / "intake")
    with pytest.raises(WitnessUnusable):
        witness.read()
    with pytest.raises(WitnessUnusable):
        witness.keep(Mark(EPOCH, 1, {}))


def test_whether_it_can_be_replaced_is_found_out_and_changes_nothing(witness: FileWitness) -> None:
    witness.rewrite()
    assert not witness.path.parent.exists(), "where there is none, none is made"
    witness.keep(Mark(EPOCH, 3, {"case_serial": 1000}))
    before = witness.path.stat().st_ino
    witness.rewrite()
    assert witness.read() == Mark(EPOCH, 3, {"case_serial": 1000})
    assert witness.path.stat().st_ino != before, "it was replaced indeed"
    witness.path.with_name("witness.json.half").mkdir()
    with pytest.raises(WitnessUnusable):
        witness.rewrite()
    assert witness.read() == Mark(EPOCH, 3, {"case_serial": 1000})


@pytest.mark.parametrize(
    ("seen", "beyond"),
    [
        (Mark(EPOCH, 1, {"a": 1000}), False),
        (Mark(EPOCH, 0, {}), False),
        (Mark(EPOCH, 2, {"a": 1000}), True),
        (Mark(EPOCH, 1, {"a": 2000}), True),
        (Mark(EPOCH, 1, {"b": 1}), True),
        (Mark(OTHER, 1, {"a": 1000}), True),
    ],
)
def test_what_was_seen_beyond_what_a_database_knows(seen: Mark, beyond: bool) -> None:
    assert seen.is_beyond(Mark(EPOCH, 1, {"a": 1000})) is beyond


def test_that_it_is_mended_is_no_error(witness: FileWitness, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = Guard("intake", create_engine("postgresql+psycopg2://"), witness)
    looks: Iterator[NotAsWitnessed | None] = iter([None, WitnessMissing(), WitnessMissing(), None, None])

    def look() -> None:
        found = next(looks)
        if found is not None:
            raise found

    monkeypatch.setattr(guard, "_look", look)
    with capture_logs() as logged:
        for _ in range(5):
            guard.look()
    assert [(line["log_level"], line["finding"]) for line in logged] == [
        ("error", "database.witness-missing"),
        ("info", "none"),
    ]
