"""What would break clients or subscribers needs a new major version of the contract.

`docs/released` holds the contracts as they were released last; `make docs ARGS=--release` keeps them as they
are now.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.breaking import Document, broken_by, major_of
from tests.support.foreign import ROOT

pytestmark = pytest.mark.usefixtures("foreign_tools")
CONTRACTS = ("openapi", "asyncapi")
Change = Callable[[Any], object]


def read(folder: str, name: str) -> Document:
    found: Document = json.loads((ROOT / folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


NOW = {name: read("docs", name) for name in CONTRACTS}


@pytest.mark.parametrize("name", CONTRACTS)
def test_nothing_breaks_within_a_major_version(name: str) -> None:
    released = read("docs/released", name)
    [broken] = broken_by([(released, NOW[name])])
    assert not broken or major_of(NOW[name]) > major_of(released), (
        f"docs/{name}.json breaks who relies on the last release: either keep what they know, or raise its "
        "major version (a new path prefix, a new .vN of the fact): " + "; ".join(broken)
    )


def operation(document: Document, path: str, method: str = "post") -> Any:
    return document["paths"][f"/api/v1/{path}"][method]


def schema(document: Document, name: str) -> Any:
    return document["components"]["schemas"][name]


def fact(document: Document, name: str) -> Any:
    return document["components"]["messages"][f"onestop.{name}.v1"]["payload"]


def without(document: Any, name: str) -> None:
    """An answer or fact loses a member."""
    del document["properties"][name]
    document["required"].remove(name)


def demand(document: Any, name: str) -> None:
    """A body needs one more."""
    document["properties"][name] = {"type": "string"}
    document.setdefault("required", []).append(name)


BREAKING: list[tuple[str, Change]] = [
    ("openapi", lambda d: d["paths"].pop("/api/v1/messages")),
    ("openapi", lambda d: d["paths"]["/api/v1/cases"].pop("get")),
    ("openapi", lambda d: operation(d, "cases")["responses"].pop("201")),
    ("openapi", lambda d: operation(d, "messages", "get")["parameters"][0].update(required=True)),
    ("openapi", lambda d: demand(schema(d, "LookUp"), "captcha")),
    ("openapi", lambda d: schema(d, "LookUp")["properties"]["number"].update(maxLength=10)),
    ("openapi", lambda d: schema(d, "LookUp")["properties"]["number"].update(type="integer")),
    ("openapi", lambda d: schema(d, "StepResult")["enum"].remove("denied")),
    ("openapi", lambda d: without(schema(d, "Receipt"), "query_code")),
    ("openapi", lambda d: schema(d, "Receipt")["required"].remove("query_code")),
    ("openapi", lambda d: schema(d, "Receipt")["properties"]["number"].update(type="integer")),
    ("openapi", lambda d: schema(d, "Stage")["properties"]["progress"]["enum"].append("skipped")),
    ("openapi", lambda d: schema(d, "CaseState").pop("enum")),
    ("openapi", lambda d: schema(d, "LookUp")["properties"]["number"].update(enum=["1"])),
    ("asyncapi", lambda d: d["operations"].pop("notify.says")),
    (
        "asyncapi",
        lambda d: d["channels"]["approval-facts"]["messages"].pop("onestop.approval.step-passed.v1"),
    ),
    ("asyncapi", lambda d: d["channels"]["approval-facts"].update(address="elsewhere.#")),
    ("asyncapi", lambda d: without(fact(d, "approval.step-passed"), "step")),
    ("asyncapi", lambda d: fact(d, "approval.step-passed")["properties"]["step"].update(type="integer")),
    ("asyncapi", lambda d: without(d["components"]["messageTraits"]["cloudEvent"]["headers"], "ce-sequence")),
]
HARMLESS: list[tuple[str, Change]] = [
    ("openapi", lambda d: d["paths"].update({"/api/v1/more": {"get": operation(d, "messages", "get")}})),
    ("openapi", lambda d: schema(d, "LookUp")["properties"].update(hint={"type": "string"})),
    ("openapi", lambda d: schema(d, "LookUp")["properties"]["number"].update(maxLength=1000)),
    ("openapi", lambda d: schema(d, "StepResult")["enum"].append("returned")),
    ("openapi", lambda d: schema(d, "Receipt")["properties"].update(hint={"type": "string"})),
    ("openapi", lambda d: schema(d, "Receipt").update(description="Something else.")),
    ("asyncapi", lambda d: d["channels"]["notify-queue"]["messages"].clear()),
    ("asyncapi", lambda d: fact(d, "approval.step-passed")["properties"].update(hint={"type": "string"})),
    ("asyncapi", lambda d: d["channels"]["approval-facts"].update(description="Something else.")),
]


PATHS = ("cases", "cases/lookup", "messages", "tasks/{task_id}/decision")


def lean(document: Document) -> Document:
    """As much of it as the changes below touch."""
    found = copy.deepcopy(document)
    if "paths" in found:
        found["paths"] = {f"/api/v1/{path}": found["paths"][f"/api/v1/{path}"] for path in PATHS}
        for path in found["paths"].values():
            for operation in path.values():
                answers = operation["responses"]
                operation["responses"] = {name: said for name, said in answers.items() if int(name) < 300}
    return found


def changed(name: str, change: Change) -> tuple[Document, Document]:
    """A contract, and the same after a change."""
    before, after = lean(NOW[name]), lean(NOW[name])
    change(after)
    assert after != before
    return before, after


def test_what_breaks_is_noticed() -> None:
    found = broken_by([changed(name, change) for name, change in BREAKING])
    assert [place for place, broken in enumerate(found) if not broken] == []


def test_what_breaks_nobody_is_let_pass() -> None:
    found = broken_by([changed(name, change) for name, change in HARMLESS])
    assert [(place, broken) for place, broken in enumerate(found) if broken] == []
