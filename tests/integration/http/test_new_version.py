"""A new version of a matter comes out while cases are open: they stay on theirs, wherever they are read."""

import re
from pathlib import Path

import pytest

from deploy.catalogue import publish_matters
from shared.catalogue import published
from shared.catalogue.loader import BUILT_IN, load_matter
from tests.support.hall import A_PDF, WITHOUT_LEASE, Hall, application, keyed, session, upload
from tests.support.installation import MATTER

BROWSER = {"Accept": "text/html"}


def renamed(folder: Path) -> Path:
    """Version 2, in which every step, material, group, fact, condition and department has another code."""
    path = BUILT_IN / f"{MATTER}.yaml"
    before = load_matter(path)
    codes = {
        *(step.code for step in before.steps),
        *(material.code for material in before.materials),
        *before.one_of_groups,
        *before.facts,
        *(condition.code for condition in before.conditions),
    }
    text = path.read_text("utf-8")
    for code in sorted(codes, key=len, reverse=True):
        text = re.sub(rf"(?<![\w/.-]){code}(?![\w-])", f"{code}_anew", text)
    # What forms are made of keeps its name: a fact is renamed, not the answer that it is read from.
    form, rest = text[text.index("form:\n") : text.index("consent:")], text[text.index("consent:") :]
    text = text[: text.index("form:\n")] + form.replace("_anew", "") + rest
    text = re.sub(r"certificate_types: \[.*\]", lambda found: found[0].replace("_anew", ""), text)
    for department in before.departments:
        text = re.sub(rf"(?<![\w/.-]){department}(?![\w-])", f"{department}-anew", text)
    written = folder / f"{MATTER}.yaml"
    written.write_text(text.replace("\nversion: 1\n", "\nversion: 2\n"), "utf-8")
    after = load_matter(written)
    assert not {step.code for step in after.steps} & codes
    assert not {material.code for material in after.materials} & codes
    assert not set(after.facts) & codes
    assert not set(after.departments) & set(before.departments)
    return written


@pytest.fixture
def hall_with_cases(
    fresh_hall: Hall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Hall, dict[str, str], list[str]]:
    """One case in the first step, one waiting for its citizen; then version 2 is published."""
    # A process asks for the newest version now and then; here before each answer.
    monkeypatch.setattr(published, "NEWEST_FOR_S", 0.0)
    who, headers = fresh_hall.citizen(WITHOUT_LEASE)
    waiting = fresh_hall.apply(headers, application(who)).json()["number"]
    body = {**application(who), "uploads": {"lease_contract": upload(fresh_hall, headers)}}
    handled = fresh_hall.apply(headers, body).json()["number"]
    fresh_hall.installation.pump()
    publish_matters(fresh_hall.installation.settings, [renamed(tmp_path)])
    return fresh_hall, headers, [handled, waiting]


def test_every_reading_names_the_version_of_the_case(
    hall_with_cases: tuple[Hall, dict[str, str], list[str]],
) -> None:
    hall, headers, (handled, waiting) = hall_with_cases
    officer = hall.officer("officer-1")
    assert hall.client.get(f"/api/v1/matters/{MATTER}").json()["version"] == 2
    task = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"][0]
    assert (task["case"], task["step"], task["matter_version"]) == (handled, "verify", 1)
    queue = hall.client.get("/desk", headers={**session(officer), **BROWSER})
    assert "核查" in queue.text
    for path, who in (
        (f"/desk/tasks/{task['id']}", officer),
        ("/cases", headers),
        (f"/cases/{handled}", headers),
        (f"/cases/{waiting}", headers),
        (f"/api/v1/tasks/{task['id']}", officer),
        ("/api/v1/cases", headers),
        (f"/api/v1/cases/{handled}", headers),
        (f"/api/v1/cases/{waiting}/timeline", headers),
        ("/api/v1/messages", headers),
    ):
        page = "/api/" not in path
        asked = {**session(who), **BROWSER} if page else who
        answer = hall.client.get(path, headers=asked)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert "_anew" not in answer.text
        assert "-anew" not in answer.text


def test_open_cases_go_to_their_end(hall_with_cases: tuple[Hall, dict[str, str], list[str]]) -> None:
    hall, headers, (handled, waiting) = hall_with_cases
    supply = {"uploads": {"lease_contract": upload(hall, headers, A_PDF)}}
    path = f"/api/v1/cases/{waiting}/supplements"
    assert hall.client.post(path, headers=keyed(headers), json=supply).status_code == 202
    hall.installation.pump()
    for number in (handled, waiting):
        for _ in range(2):
            hall.installation.work_task(number)
            hall.installation.pump()
        case = hall.case(headers, number)
        assert (case["outcome"], case["closed_at"] is not None) == ("approved", True)


def test_new_cases_are_on_the_new_version(
    hall_with_cases: tuple[Hall, dict[str, str], list[str]],
) -> None:
    hall, _, _ = hall_with_cases
    who, headers = hall.citizen()
    number = hall.apply(headers, application(who)).json()["number"]
    hall.installation.pump()
    officer = hall.officer("officer-9", ["xihu-community-anew"])
    (task,) = hall.client.get("/api/v1/tasks", headers=officer).json()["tasks"]
    assert (task["case"], task["step"], task["matter_version"]) == (number, "verify_anew", 2)
    assert hall.client.get("/desk", headers={**session(officer), **BROWSER}).status_code == 200
