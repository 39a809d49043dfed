"""Every code stands on the page of problems in one group: with those whom it concerns."""

import deploy.errors
import deploy.trace
from deploy.services import SERVICES, part
from services.intake.identity.provider import provider_file, provider_names
from shared.errors import error_classes
from shared.http.problem_pages import GROUPS, OPERATORS, group_of
from tests.support.contract import operations

LOADED = [
    deploy.errors,
    deploy.trace,
    *(part(service, name) for service in SERVICES for name in ("web", "worker")),
    *map(provider_file, provider_names()),
]
"""So that every class is known, whatever else has run."""
OF_EVERY_DOOR = {"database.restored", "database.witness-missing", "database.witness-unusable"}
"""Whoever knocks may meet them, and only operators can do anything about them."""
RUNNING = {"deploy", "settings", "database", "broker", "trouble"}


def codes() -> set[str]:
    return {
        cls.code for cls in error_classes() if cls.__module__.startswith(("deploy.", "services.", "shared."))
    }


def test_every_code_has_a_group_and_no_word_stands_in_two() -> None:
    assert len(codes()) > 80
    for code in codes():
        assert any(group.has(code) for group in GROUPS), f"say in shared.http.problem_pages who meets {code}"
    words = [word for group in GROUPS for word in group.words]
    assert len(words) == len(set(words))
    assert {code.partition(".")[0] for code in codes()} == set(words), "words that no code has"


def test_what_the_api_answers_with_is_no_code_of_operators() -> None:
    answered = {
        code
        for _, _, operation in operations()
        for status, said in operation["responses"].items()
        if int(status) >= 400
        for code in said["content"]["application/problem+json"]["examples"]
    }
    of_operators = {code for code in answered if group_of(code) is OPERATORS}
    assert of_operators <= OF_EVERY_DOOR | {"peer.unavailable"}


def test_what_only_commands_say_is_one_of_operators() -> None:
    for code in codes():
        if code.partition(".")[0] in RUNNING:
            assert group_of(code) is OPERATORS, code
