"""The demo's journey by a client that openapi-python-client generated: nobody wrote a line of it by hand."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.foreign import ROOT, generate_python_client
from tests.support.hall import A_JPEG, A_PDF
from tests.support.installation import wait_for

_PACKAGE = "onestop_client"
_FILES = {"application/pdf": A_PDF, "image/jpeg": A_JPEG}


@dataclass(frozen=True, slots=True)
class GeneratedClient:
    """The package, and where it sends."""

    url: str
    opened: ExitStack

    def logged_in(self, token: str) -> Any:
        """Somebody's client."""
        return self._open("AuthenticatedClient", token=token)

    def anonymous(self) -> Any:
        """A client of nobody."""
        return self._open("Client")

    def _open(self, kind: str, **given: Any) -> Any:
        made = getattr(self.module("client"), kind)
        direct = {"trust_env": False}
        return self.opened.enter_context(made(base_url=self.url, timeout=30, httpx_args=direct, **given))

    def module(self, name: str) -> Any:
        """A module of the package."""
        return importlib.import_module(f"{_PACKAGE}.{name}")

    def model(self, name: str) -> Any:
        """A schema of the document as a class."""
        return getattr(self.module("models"), name)

    def call(self, operation: str, client: Any, *place: Any, status: int = 200, **given: Any) -> Any:
        """What an operation answers, as `tag.operation` names it; it must have this status."""
        answer = self.module(f"api.{operation}").sync_detailed(*place, client=client, **given)
        assert int(answer.status_code) == status, answer.content
        return answer


@contextmanager
def generated_client(folder: Path, url: str) -> Iterator[GeneratedClient]:
    """Generate the package below `folder`; it can be imported as long as the block lasts."""
    generate_python_client(ROOT / "docs" / "openapi.json", folder / _PACKAGE)
    sys.path.insert(0, str(folder))
    try:
        with ExitStack() as opened:
            yield GeneratedClient(url, opened)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == _PACKAGE]:
            del sys.modules[name]


@dataclass(slots=True)
class ClientJourney:
    """Somebody of whom the state holds nothing applies, brings what is asked for, and is approved."""

    api: GeneratedClient
    citizen: Any
    officer: Any
    anybody: Any
    number: str = ""
    accepted: dict[str, list[str]] = field(default_factory=dict)
    """Material -> the media types that it takes."""

    def run(self, form: dict[str, Any]) -> None:
        """From the matter to the decision, and what is refused on the way."""
        query_code = self._apply(form)
        self._bring_what_is_asked()
        self._decide()
        self._look_back(query_code)

    def _apply(self, form: dict[str, Any]) -> str:
        matter = self.api.call("matters.read_matter", self.anybody, form["matter"]).parsed
        self.accepted = {material.code: material.accept for material in matter.materials}
        application = self.api.model("CaseForm").from_dict(form)
        key = str(uuid4())
        first, again = (
            self.api.call(
                "cases.submit_case", self.citizen, body=application, idempotency_key=key, status=201
            ).parsed
            for _ in range(2)
        )
        assert first.number == again.number
        self.number = first.number
        return str(first.query_code)

    def _case(self) -> Any:
        return self.api.call("cases.read_case", self.citizen, self.number).parsed

    def _until(self, holds: Callable[[Any], bool], what: str) -> Any:
        found: list[Any] = []

        def done() -> bool:
            found[:] = [self._case()]
            return holds(found[0])

        wait_for(done, what, 60)
        return found[0]

    def _bring_what_is_asked(self) -> None:
        case = self._until(lambda case: case.state == "correction_required", f"{self.number} asks")
        assert case.asked
        uploads: dict[str, str] = {}
        for material in [asked.uploads[0] for asked in case.asked]:
            uploads[material] = self._upload(_FILES[self.accepted[material][0]])
        supply = self.api.model("Supply").from_dict({"uploads": uploads})
        self.api.call(
            "cases.supply_materials",
            self.citizen,
            self.number,
            body=supply,
            idempotency_key=str(uuid4()),
            status=202,
        )

    def _upload(self, content: bytes) -> str:
        file = self.api.module("types").File(payload=BytesIO(content), file_name="f", mime_type="image/png")
        body = self.api.model("BodyUploadFile")(file=file)
        given = self.api.call(
            "uploads.upload_file", self.citizen, body=body, idempotency_key=str(uuid4()), status=201
        ).parsed
        assert self.api.call("uploads.read_upload", self.citizen, given.id).content == content
        return str(given.id)

    def _decide(self) -> None:
        self._until(lambda case: case.state == "under_review", f"{self.number} under review")
        Decision, StepResult = self.api.model("Decision"), self.api.model("StepResult")
        decides = False
        while not decides:
            task = self._task()
            decides = task.decides
            claimed = self.api.call("tasks.claim_task", self.officer, task.id)
            decision = Decision(outcome=StepResult.APPROVED if decides else StepResult.PASSED)
            stale = self.api.call(
                "tasks.decide_task", self.officer, task.id, body=decision, if_match='"0"', status=412
            ).parsed
            assert stale.code == "resource.changed"
            read = self.api.call("tasks.read_task", self.officer, task.id).parsed
            assert read.application.form["applicant"]
            self.api.call(
                "tasks.decide_task",
                self.officer,
                task.id,
                body=decision,
                if_match=claimed.headers["etag"],
            )

    def _task(self) -> Any:
        found: list[Any] = []

        def is_there() -> bool:
            cursor, found[:] = self.api.module("types").UNSET, []
            while cursor is not None and not found:
                page = self.api.call("tasks.list_tasks", self.officer, cursor=cursor, limit=100).parsed
                found[:] = [task for task in page.tasks if task.case == self.number and task.state == "open"]
                cursor = page.next_
            return bool(found)

        wait_for(is_there, f"a task of {self.number}", 60)
        return found[0]

    def _look_back(self, query_code: str) -> None:
        case = self._until(lambda case: case.closed_at is not None, f"{self.number} closed")
        assert case.outcome == "approved"
        mine = self.api.call("cases.list_cases", self.citizen).parsed
        assert [line.number for line in mine.cases] == [self.number]
        assert self.api.call("cases.read_timeline", self.citizen, self.number, limit=5).parsed.timeline
        LookUp = self.api.model("LookUp")
        right = LookUp(number=self.number, query_code=query_code)
        assert self.api.call("cases.look_up_case", self.anybody, body=right).parsed.number == self.number
        wrong = LookUp(number=self.number, query_code="0" * 32)
        refused = self.api.call("cases.look_up_case", self.anybody, body=wrong, status=404).parsed
        assert refused.code == "case.not-found"
        assert self.api.call("consents.list_consents", self.citizen).parsed.consents == []
        wait_for(
            lambda: bool(self.api.call("messages.list_messages", self.citizen).parsed.messages),
            "a notice",
            60,
        )
