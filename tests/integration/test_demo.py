"""The demo as somebody meets it: people, cases and addresses on the terminal, and work left to do."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.demo_people import OFFICER, TO_SUPPLY
from deploy.demo_scenarios import DEPARTMENTS
from deploy.processes import spawn
from tests.support.installation import ROOT, wait_for
from tests.support.servers import scratch_folder

READY = "Ctrl-C ends it"


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the system's own users may come, as they may below a home of root's that is open."""
    with scratch_folder() as folder:
        yield folder


def test_the_terminal_shows_people_and_cases_and_leaves_work(place: Path) -> None:
    data, shown = place / "data", place / "terminal"
    with shown.open("wb") as output:
        demo = spawn(
            [sys.executable, "-m", "deploy.cli", "demo", "--data-dir", data, "--port", "0"],
            output=output.fileno(),
            environment={"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONPATH": str(ROOT)},
        )
    try:
        wait_for(lambda: READY in text(shown) or demo.poll() is not None, "the demo is ready", 180)
        told = text(shown)
        assert READY in told, told
        assert "林小满 提交申请 applied" in told
        assert '"level"' not in told, "the log has a file of its own"
        assert "Warning" not in told
        assert '"level"' in text(data / "demo.log")
        hall = re.search(r"service hall +(http://\S+)/", told)
        assert hall is not None
        look_at_what_is_left(hall[1], told)
    finally:
        demo.send_signal(signal.SIGINT)
        code = demo.wait(60)
    assert code == 0


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
