"""One case by every command over HTTP, by people who try again whenever they are not answered."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import structlog
from starlette.testclient import TestClient

from deploy.services import SERVICES
from deploy.web import build
from shared import faults
from shared.log import configure
from tests.integration.bus.history import outcome_of
from tests.support.hall import A_PDF, DEPARTMENTS, application
from tests.support.installation import Citizen, Installation

_TRIES = 4
_READINGS = ('["person_reads"', '["upload_reads"', '["use_records"')
"""Notes of who read what: whoever was not answered reads again, and each reading is noted."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d+(\+00:00|Z)")
# Those without fractions are legal ends of days, which must agree.

Send = Callable[..., httpx.Response]
"""`method, path, **options` as httpx has them; raises httpx.TransportError when nobody answers."""


class NotAnswered(AssertionError):
    """A request that was repeated got no answer either."""


@dataclass(slots=True)
class Journey:
    """Somebody without a lease record applies, supplies it, is handled in two steps and approved.

    `settle` delivers all facts; `repeated` counts the requests that had to be sent again.
    """

    who: Citizen
    send: Send
    settle: Callable[[], None]
    repeated: int = 0
    number: str = ""
    upload: str = ""

    def run(self) -> None:
        """From the first log-in until the case is closed."""
        who = self.who
        citizen = self._log_in("citizen", {"name": who.name, "id_number": who.id_number, "phone": who.phone})
        receipt = self._make(citizen, "/api/v1/cases", json=application(who))
        self.number = number = str(receipt["number"])
        self.settle()
        file = {"file": ("lease.pdf", A_PDF, "application/pdf")}
        self.upload = self._make(citizen, "/api/v1/uploads", files=file)["id"]
        supply = {"uploads": {"lease_contract": self.upload}}
        self._make(citizen, f"/api/v1/cases/{number}/supplements", json=supply)
        self.settle()
        self._look(citizen, f"/api/v1/cases/{number}")
        self._look(citizen, "/api/v1/cases")
        officer = self._log_in("officer", {"subject": "officer-1", "departments": DEPARTMENTS})
        for outcome in ("passed", "approved"):
            self._work(officer, number, outcome)
            self.settle()
        self._look(citizen, "/api/v1/messages")
        looked_up = {"number": number, "query_code": receipt["query_code"]}
        found = self._ask("POST", "/api/v1/cases/lookup", json=looked_up)
        assert found.json()["outcome"] == "approved", found.text

    def _work(self, officer: dict[str, str], number: str, outcome: str) -> None:
        tasks = self._look(officer, "/api/v1/tasks")["tasks"]
        (task,) = [task for task in tasks if task["case"] == number]
        path = f"/api/v1/tasks/{task['id']}"
        for act in ("claim", "release", "claim"):
            self._act(officer, f"{path}/{act}")
        seen = self._ask("GET", path, headers=officer)
        assert seen.status_code == 200, seen.text
        self._act(
            {**officer, "If-Match": seen.headers["etag"]}, f"{path}/decision", json={"outcome": outcome}
        )

    def _log_in(self, kind: str, body: dict[str, Any]) -> dict[str, str]:
        answer = self._ask("POST", f"/dev/tokens/{kind}", json=body)
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def _make(self, headers: dict[str, str], path: str, **options: Any) -> dict[str, Any]:
        """The same request under the same key until it is answered, and once more."""
        keyed = {**headers, "Idempotency-Key": str(uuid4())}
        answer = self._ask("POST", path, headers=keyed, **options)
        assert answer.is_success, answer.text
        assert self._ask("POST", path, headers=keyed, **options).json() == answer.json()
        made: dict[str, Any] = answer.json()
        return made

    def _act(self, headers: dict[str, str], path: str, **options: Any) -> None:
        """What was done already may be told so to somebody who tries again, and to nobody else."""
        before = self.repeated
        answer = self._ask("POST", path, headers=headers, **options)
        told_before = self.repeated > before and answer.status_code in (409, 412)
        assert answer.is_success or told_before, answer.text

    def _look(self, headers: dict[str, str], path: str) -> Any:
        answer = self._ask("GET", path, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        for _ in range(_TRIES):
            try:
                answer = self.send(method, path, **options)
            except httpx.TransportError:
                self.repeated += 1
                continue
            if answer.status_code < 500:
                return answer
            self.repeated += 1
        raise NotAnswered(f"{method} {path}")


@contextmanager
def open_hall(made: Installation) -> Iterator[TestClient]:
    """All doors in this process, with the development log-in; what goes wrong there is an answer."""
    web = made.settings.web.model_copy(update={"cookie_secure": False})
    settings = made.settings.model_copy(update={"dev_identity": True, "web": web})
    before = structlog.get_config()
    configure(settings, service="web")
    try:
        with TestClient(build(settings, SERVICES).public, raise_server_exceptions=False) as client:
            yield client
    finally:
        faults.plan_faults("")
        structlog.configure(**before)


def trace(journey: Journey) -> list[str]:
    """Make an undisturbed journey; the crash points that its requests pass in this process."""
    seen: list[str] = []
    send = journey.send

    def traced(method: str, path: str, **options: Any) -> httpx.Response:
        faults.trace_points(seen.append)
        try:
            return send(method, path, **options)
        finally:
            faults.trace_points(None)

    journey.send = traced
    journey.run()
    return sorted(set(seen))


def all_of(made: Installation, journey: Journey) -> Counter[str]:
    """All that the services have of its case, but who read it and when what happened."""
    return Counter(
        f"{service} {_MOMENT.sub('a moment', line).replace(journey.upload, 'the upload')}"
        for service in SERVICES
        for line in outcome_of(made, service, journey.number)
        if not line.startswith(_READINGS)
    )
