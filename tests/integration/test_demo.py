"""The demo as somebody meets it: people, cases and addresses on the terminal, and work left to do; and as a
foreign program does, which goes the same way by a client that it generated."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from deploy.demo_people import OFFICER, TO_SUPPLY
from deploy.demo_scenarios import DEPARTMENTS
from deploy.processes import spawn
from tests.support.foreign import provide_tools
from tests.support.generated_client import ClientJourney, generated_client
from tests.support.hall import application, as_named
from tests.support.installation import ROOT, Citizen, id_number, wait_for
from tests.support.servers import scratch_folder

READY = "Ctrl-C ends it"


@dataclass(frozen=True, slots=True)
class Demo:
    """What it told, where it keeps its log, and where it answers."""

    told: str
    log: Path
    url: str


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A demo that is ready. It ends in order; it is where the system's own users may come, as they may below
    a home of root's that is open."""
    with scratch_folder() as place:
        data, shown = place / "data", place / "terminal"
        with shown.open("wb") as output:
            process = spawn(
                [sys.executable, "-m", "deploy.cli", "demo", "--data-dir", data, "--port", "0"],
                output=output.fileno(),
                environment={"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONPATH": str(ROOT)},
            )
        try:
            wait_for(lambda: READY in text(shown) or process.poll() is not None, "the demo is ready", 180)
            told = text(shown)
            hall = re.search(r"service hall +(http://\S+)/", told)
            assert hall is not None, told
            yield Demo(told, data / "demo.log", hall[1])
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
        assert code == 0


def test_the_terminal_shows_people_and_cases_and_leaves_work(demo: Demo) -> None:
    assert READY in demo.told
    assert "林小满 提交申请 applied" in demo.told
    assert '"level"' not in demo.told, "the log has a file of its own"
    assert "Warning" not in demo.told
    assert '"level"' in text(demo.log)
    look_at_what_is_left(demo.url, demo.told)


def test_a_generated_client_goes_the_whole_way(demo: Demo, tmp_path: Path) -> None:
    provide_tools()
    who = Citizen("生成客户端", id_number(987), "13900000987")
    with httpx.Client(base_url=demo.url, timeout=10, trust_env=False) as client:
        citizen = client.post("/dev/tokens/citizen", json=as_named(who)).json()["token"]
        body = {"subject": OFFICER, "departments": DEPARTMENTS}
        officer = client.post("/dev/tokens/officer", json=body).json()["token"]
    with generated_client(tmp_path, demo.url) as api:
        people = api.logged_in(citizen), api.logged_in(officer), api.anonymous()
        ClientJourney(api, *people).run(application(who))


def look_at_what_is_left(url: str, told: str) -> None:
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
        body = {"subject": OFFICER, "departments": DEPARTMENTS}
        officer = client.post("/dev/tokens/officer", json=body).json()["token"]
        headers = {"Authorization": f"Bearer {officer}"}
        tasks = client.get("/api/v1/tasks", headers=headers).json()["tasks"]
        assert sorted(task["decides"] for task in tasks) == [False, True]
        assert all(task["case"] in told for task in tasks)
        citizen = client.post("/dev/tokens/citizen", json=TO_SUPPLY.as_applicant()).json()["token"]
        (case,) = client.get("/api/v1/cases", headers={"Authorization": f"Bearer {citizen}"}).json()["cases"]
        assert case["state"] == "correction_required"
        assert f"/cases/{case['number']}" in told


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
