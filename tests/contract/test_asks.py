"""Who may ask whom what: every question stands in the table, and nothing else does."""

import ast
from pathlib import Path

import pytest

from deploy.asks import MAY_ASK
from deploy.generated import ROOT
from deploy.secret_files import init_secrets
from deploy.services import SERVICES, part
from shared.bus import comparison
from shared.context import build_context
from shared.peers import REVOCATIONS, SAID
from shared.sections import DbSettings
from shared.settings import Settings

WAYS = ("ask", "hand_over", "fetch")


def asked_by(service: str) -> set[tuple[str, str]]:
    """(owner, question) of every `….ask("owner", "question", …)` in a service, and of files that go along."""
    found = set()
    for path in (ROOT / "services" / service).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", None) not in WAYS:
                continue
            names = [argument.value for argument in node.args[:2] if isinstance(argument, ast.Constant)]
            if len(names) == 2:
                found.add((str(names[0]), str(names[1])))
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_names_every_question_that_a_service_answers(service: str, tmp_path: Path) -> None:
    init_secrets(tmp_path)
    settings = Settings(environment="test", db=DbSettings(host="/nowhere"), secrets_dir=tmp_path)
    context = build_context(settings, service)
    answers = {**part(service, "web").answers(context), **comparison.answers(context)}
    assert set(MAY_ASK.get(service, {})) == set(answers)


@pytest.mark.parametrize("service", SERVICES)
def test_the_table_allows_what_a_service_asks_and_nothing_more(service: str) -> None:
    allowed = {
        (owner, question)
        for owner, questions in MAY_ASK.items()
        for question, askers in questions.items()
        if service in askers and question not in (*SAID, REVOCATIONS)
    }
    assert allowed == asked_by(service)
