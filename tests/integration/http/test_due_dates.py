"""The clock of the law, through the doors: what is due when, and what citizen and officer are shown of it.

Every expected date was counted by hand on these months. Holidays and make-up days are those of the State
Council's notice for 2026 (国办发明电〔2025〕7号): 25-27 September and 1-7 October are free; Sunday, 20
September, and Saturday, 10 October, are worked. [ ] is a free weekday, ( ) a worked day of a weekend.

  September           October               November              December              January 2027
  Mo Tu We Th Fr Sa Su  Mo Tu We Th Fr Sa Su  Mo Tu We Th Fr Sa Su  Mo Tu We Th Fr Sa Su  Mo Tu We Th Fr Sa Su
  14 15 16 17 18 19(20)          [1][2] 3  4                     1      1  2  3  4  5  6              [1] 2  3
  21 22 23 24[25]26 27  [5][6][7] 8  9(10)11   2  3  4  5  6  7  8   7  8  9 10 11 12 13   4  5  6  7  8  9 10
  28 29 30              12 13 14 15 16 17 18   9 10 11 12 13 14 15  14 15 16 17 18 19 20  11 12 13 14 15 16 17
                        19 20 21 22 23 24 25  16 17 18 19 20 21 22  21 22 23 24 25 26 27
                        26 27 28 29 30 31     23 24 25 26 27 28 29  28 29 30 31

The matter promises 5 working days and has 15 by law; each of its two steps has 2.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from deploy.postgres import PostgresServer
from deploy.services import SERVICES
from deploy.web import build
from shared.clock import move_legal_clock
from shared.legal_time import LEGAL_ZONE, legal_day
from shared.settings import Settings
from tests.support.hall import A_JPEG, A_PDF, WITHOUT_LEASE, Hall, application
from tests.support.installation import HELD, make_installation

REGION = "330106"


@pytest.fixture(scope="module")
def hall(
    postgres: PostgresServer, template_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hall]:
    """One hall for all: a test that reads the clock moves it first, and looks at its own cases only."""
    scratch = tmp_path_factory.mktemp("due_dates")
    with make_installation(postgres, template_settings, scratch, None) as db_installation:
        settings = db_installation.settings.model_copy(update={"dev_identity": True})
        apps = build(settings, SERVICES)
        with TestClient(apps.public, raise_server_exceptions=False) as client:
            yield Hall(db_installation, client, TestClient(apps.internal))


def turn_to(hall: Hall, year: int, month: int, day: int, hour: int = 10, minute: int = 0) -> None:
    """Let it be this time in Beijing, in law."""
    wanted = datetime(year, month, day, hour, minute, tzinfo=LEGAL_ZONE)
    with hall.installation.admin.begin() as connection:
        wall = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        move_legal_clock(connection, wanted - wall, allowed=hall.installation.settings.clock_offset_allowed)


@contextmanager
def imported(hall: Hall, days: Mapping[date, bool], region: str = REGION) -> Iterator[None]:
    """A region's own calendar, while the block lasts: day -> whether it is worked."""
    for day, working in days.items():
        hall.installation.change(
            "INSERT INTO approval.work_calendar VALUES (:region, :day, :working, false, 'test')",
            region=region,
            day=day,
            working=working,
        )
    try:
        yield
    finally:
        hall.installation.change("DELETE FROM approval.work_calendar")


def apply(hall: Hall, certificates: Sequence[str] = HELD) -> tuple[dict[str, str], str]:
    """Somebody's headers, and the number of their case after all that follows from it at once."""
    who, headers = hall.citizen(tuple(certificates))
    number: str = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    return headers, number


def supply(hall: Hall, headers: dict[str, str], number: str, **files: bytes) -> None:
    """Supply files by the code of their material."""
    uploads = {}
    for code, content in files.items():
        keyed = {**headers, "Idempotency-Key": str(uuid4())}
        sent = hall.client.post("/api/v1/uploads", headers=keyed, files={"file": (code, content)})
        uploads[code] = sent.json()["id"]
    keyed = {**headers, "Idempotency-Key": str(uuid4())}
    path = f"/api/v1/cases/{number}/supplements"
    assert hall.client.post(path, headers=keyed, json={"uploads": uploads}).status_code == 202
    hall.installation.pump()


def day_of(moment: str) -> date:
    """The legal day of a moment in an answer."""
    return legal_day(datetime.fromisoformat(moment))


def dates(case: Mapping[str, Any]) -> tuple[date, date]:
    """By when it is promised, by when it is due in law."""
    return day_of(case["promised_due_at"]), day_of(case["legal_due_at"])


def task_of(hall: Hall, officer: dict[str, str], number: str) -> dict[str, Any]:
    """The case's open task in the officer's queue."""
    tasks = hall.client.get("/api/v1/tasks", headers=officer, params={"limit": 100}).json()["tasks"]
    (found,) = [task for task in tasks if task["case"] == number]
    line: dict[str, Any] = found
    return line


def end_step(hall: Hall, officer: dict[str, str], number: str, outcome: str) -> dict[str, Any]:
    """Claim the open task of a case and end it."""
    path = f"/api/v1/tasks/{task_of(hall, officer, number)['id']}"
    claimed = hall.client.post(f"{path}/claim", headers=officer)
    seen = {**officer, "If-Match": claimed.headers["etag"]}
    done = hall.client.post(f"{path}/decision", headers=seen, json={"outcome": outcome})
    assert done.status_code == 200
    hall.installation.pump()
    line: dict[str, Any] = done.json()
    return line


@pytest.mark.parametrize(
    ("submitted", "promised", "legal"),
    [
        # The day itself is not counted, and a weekend lies between: 13 16 17 18 19, .. 27, 30 1 2 3.
        ((2026, 11, 12), date(2026, 11, 19), date(2026, 12, 3)),
        # 8 9 (10) 12 13: seven free days, then a Saturday that is worked.
        ((2026, 9, 30), date(2026, 10, 13), date(2026, 10, 27)),
        # Received on a holiday, which ends no later for that.
        ((2026, 10, 3), date(2026, 10, 13), date(2026, 10, 27)),
        # A Sunday that is worked counts: (20) 21 22 23 24, then 28 29 30, 8 9 (10) 12 13 14 15.
        ((2026, 9, 18), date(2026, 9, 24), date(2026, 10, 15)),
        # Days change at midnight in Beijing; both of these are 7 October in UTC.
        ((2026, 10, 7, 23, 59), date(2026, 10, 13), date(2026, 10, 27)),
        ((2026, 10, 8, 0, 1), date(2026, 10, 14), date(2026, 10, 28)),
        # To the last working day but two of the known years.
        ((2026, 12, 8), date(2026, 12, 15), date(2026, 12, 29)),
    ],
)
def test_due_dates(hall: Hall, submitted: tuple[int, ...], promised: date, legal: date) -> None:
    turn_to(hall, *submitted)
    headers, number = apply(hall)
    case = hall.case(headers, number)
    year, month, day = submitted[:3]
    assert number[6:12] == f"{date(year, month, day):%y%m%d}"
    assert day_of(case["received_at"]) == day_of(case["accepted_at"]) == date(year, month, day)
    assert (dates(case), case["provisional"]) == ((promised, legal), False)
    # The last day counts whole.
    due = datetime.fromisoformat(case["promised_due_at"]).astimezone(LEGAL_ZONE)
    assert (due.hour, due.minute, due.second) == (23, 59, 59)


JANUARY = {date(2027, 1, day): day not in (1, 2, 3, 10, 16, 17, 23, 24, 30, 31) for day in range(1, 32)}
"""As a notice for 2027 might have it: Saturday 9 January is worked."""


@pytest.mark.parametrize(
    ("calendar", "legal", "provisional"),
    [
        # 22 23 24 25 28, 29 30 31, then guessed: 4 5 6 7 8, 11 12. New Year's Day is free by law.
        ({}, date(2027, 1, 12), True),
        # With the notice: 4 5 6 7 8 (9), 11.
        (JANUARY, date(2027, 1, 11), False),
        # One guessed day on the way is enough for a guess.
        ({day: worked for day, worked in JANUARY.items() if day.day != 5}, date(2027, 1, 11), True),
    ],
)
def test_beyond_the_announced_year_a_date_is_provisional(
    hall: Hall, calendar: dict[date, bool], legal: date, provisional: bool
) -> None:
    turn_to(hall, 2026, 12, 21)
    with imported(hall, calendar):
        headers, number = apply(hall)
    case = hall.case(headers, number)
    assert dates(case) == (date(2026, 12, 28), legal)
    assert case["provisional"] is provisional


def test_a_region_has_its_own_holidays(hall: Hall) -> None:
    turn_to(hall, 2026, 12, 8)
    # A local festival on Wednesday the 9th; another region's on the 10th is none of ours: 10 11 14 15 16.
    with imported(hall, {date(2026, 12, 9): False}), imported(hall, {date(2026, 12, 10): False}, "110101"):
        headers, number = apply(hall)
    assert dates(hall.case(headers, number)) == (date(2026, 12, 16), date(2026, 12, 30))


def test_received_and_accepted_are_two_dates(hall: Hall) -> None:
    turn_to(hall, 2026, 10, 3)
    headers, number = apply(hall, WITHOUT_LEASE)
    case = hall.case(headers, number)
    assert (case["accepted_at"], case["promised_due_at"], case["legal_due_at"]) == (None, None, None)
    turn_to(hall, 2026, 10, 10)
    supply(hall, headers, number, lease_contract=A_PDF)
    case = hall.case(headers, number)
    assert day_of(case["received_at"]) == date(2026, 10, 3)
    assert day_of(case["accepted_at"]) == date(2026, 10, 10)
    # From the day of the last material: 12 13 14 15 16; 19 .. 23, 26 .. 30.
    assert dates(case) == (date(2026, 10, 16), date(2026, 10, 30))


def test_the_clock_waits_for_the_last_material_and_nobody_is_asked_twice(hall: Hall) -> None:
    turn_to(hall, 2026, 10, 8)
    headers, number = apply(hall, ("id_card", "social_insurance_record"))
    assert {item["material"] for item in hall.case(headers, number)["asked"]} == {"photo", "residence_proof"}
    turn_to(hall, 2026, 10, 9)
    supply(hall, headers, number, photo=A_JPEG)
    case = hall.case(headers, number)
    assert (case["state"], case["accepted_at"]) == ("correction_required", None)
    turn_to(hall, 2026, 10, 12)
    supply(hall, headers, number, lease_contract=A_PDF)
    case = hall.case(headers, number)
    assert day_of(case["accepted_at"]) == date(2026, 10, 12)
    assert dates(case)[0] == date(2026, 10, 19)
    assert [entry["fact"] for entry in case["timeline"]].count("correction-required") == 1


@pytest.mark.parametrize(
    ("looked", "colour"),
    [
        ((2026, 9, 23, 23, 59), "green"),
        # Due on Monday the 28th, after three free days: the working day before it is Thursday the 24th.
        ((2026, 9, 24, 0, 0), "yellow"),
        ((2026, 9, 26), "yellow"),
        ((2026, 9, 28, 23, 59), "yellow"),
        ((2026, 9, 29, 0, 0), "red"),
    ],
)
def test_the_light_warns_on_the_last_working_day_before(
    hall: Hall, looked: tuple[int, ...], colour: str
) -> None:
    turn_to(hall, 2026, 9, 23)
    _, number = apply(hall)
    officer = hall.officer("officer-1")
    turn_to(hall, *looked)
    task = task_of(hall, officer, number)
    assert day_of(task["due_at"]) == date(2026, 9, 28)
    assert task["light"] == colour
    assert hall.client.get(f"/api/v1/tasks/{task['id']}", headers=officer).json()["light"] == colour


def test_the_light_keeps_the_calendar_of_its_region(hall: Hall) -> None:
    turn_to(hall, 2026, 12, 8)
    _, number = apply(hall)
    officer = hall.officer("officer-1")
    # Due on the 10th. Where the 9th is free, whoever looks on the 8th has no other working day left.
    assert task_of(hall, officer, number)["light"] == "green"
    with imported(hall, {date(2026, 12, 9): False}):
        assert task_of(hall, officer, number)["light"] == "yellow"
    with imported(hall, {date(2026, 12, 9): False}, "110101"):
        assert task_of(hall, officer, number)["light"] == "green"


def test_each_step_has_its_own_limit_within_the_promise(hall: Hall) -> None:
    turn_to(hall, 2026, 11, 12)
    headers, number = apply(hall)
    officer = hall.officer("officer-1")
    # Two working days after Thursday the 12th; the next two begin when the step before it ends.
    assert day_of(task_of(hall, officer, number)["due_at"]) == date(2026, 11, 16)
    turn_to(hall, 2026, 11, 13)
    end_step(hall, officer, number, "passed")
    assert day_of(task_of(hall, officer, number)["due_at"]) == date(2026, 11, 17)
    assert dates(hall.case(headers, number))[0] == date(2026, 11, 19)


def test_a_late_step_does_not_move_the_promise(hall: Hall) -> None:
    turn_to(hall, 2026, 11, 12)
    headers, number = apply(hall)
    officer = hall.officer("officer-1")
    turn_to(hall, 2026, 11, 18)
    end_step(hall, officer, number, "passed")
    # Two working days from the 18th would be the 20th; promised is the 19th.
    assert day_of(task_of(hall, officer, number)["due_at"]) == date(2026, 11, 19)
    assert dates(hall.case(headers, number)) == (date(2026, 11, 19), date(2026, 12, 3))


@pytest.mark.parametrize(("ended", "colour"), [((2026, 11, 13), "yellow"), ((2026, 11, 17), "red")])
def test_the_light_of_what_is_done_stands_still(hall: Hall, ended: tuple[int, ...], colour: str) -> None:
    turn_to(hall, 2026, 11, 12)
    _, number = apply(hall)
    officer = hall.officer("officer-1")
    turn_to(hall, *ended)
    done = end_step(hall, officer, number, "passed")
    turn_to(hall, 2026, 12, 31)
    assert hall.client.get(f"/api/v1/tasks/{done['id']}", headers=officer).json()["light"] == colour
