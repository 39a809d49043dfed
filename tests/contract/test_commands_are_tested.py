"""Every command of every service has a test file of its own, on a real database."""

import inspect
from pathlib import Path

import pytest

from deploy.services import SERVICES, part

TESTS = Path(__file__).parents[1] / "integration" / "commands"
NO_COMMANDS = {
    "check_holder": "a condition of others, which try it",
    "check_own": "a condition of others, which try it",
    "has_value": "a read",
    "count_for_day": "a condition of others, which try it",
    "name_of": "a read",
    "office_of": "a read",
    "value_of": "a read",
    "verified_name": "a read",
    "keys_of": "a read",
    "contact_of": "a read",
    "contacts_of": "a read",
    "own_point": "a condition of others, which try it",
    "note_reading": "what others do besides, and are tried for",
    "show": "what `note_fact` and whoever says a fact do",
    "prove": "what `keep_vouched` and `try_code` do",
}
MODULES = {
    "intake": (
        "commands",
        "hearing",
        "identity.persons",
        "identity.contacts",
        "identity.codes",
        "identity.accounts",
        "identity.client_keys",
        "identity.sessions",
        "unasked",
    ),
    "materials": ("commands", "uploads"),
}
"""Where commands stand; in `commands` alone elsewhere."""


def commands_of(service: str) -> set[str]:
    """The public functions that change something: what they load is loaded in their tests."""
    modules = [part(service, name) for name in MODULES.get(service, ("commands",))]
    return {
        name
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and next(iter(inspect.signature(function).parameters), None) == "unit"
        and not name.startswith(("_", "load_"))
        and name not in NO_COMMANDS
    }


@pytest.mark.parametrize("service", SERVICES)
def test_each_command_has_its_file_and_each_file_its_command(service: str) -> None:
    files = {path.stem.removeprefix("test_") for path in (TESTS / service).glob("test_*.py")}
    assert files == commands_of(service)
