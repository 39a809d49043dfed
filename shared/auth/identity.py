"""The development identity provider: pick a person from a list and be that person. Never in production."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.auth.principal import Principal
from shared.errors import NotFound
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class DevPerson:
    """One line of the list. `key` names the person in the log-in form; `role_*` say who it is."""

    key: str
    principal: Principal
    role_zh: str
    role_en: str


class NoSuchLogIn(NotFound):
    """The person is not on the list, or the provider is off: both answer alike."""

    code = "auth.no-such-log-in"
    title_zh = "没有这个测试登录"
    title_en = "There is no such test log-in"


class DevIdentity:
    """Off unless `settings.dev_identity`; then it behaves as if it were not there."""

    def __init__(self, settings: Settings, people: Sequence[DevPerson]) -> None:
        self.on = settings.dev_identity
        self._people = {person.key: person for person in people} if self.on else {}

    def people(self) -> list[DevPerson]:
        """Who may be chosen, in the given order. Raises NoSuchLogIn when off."""
        if not self.on:
            raise NoSuchLogIn
        return list(self._people.values())

    def choose(self, key: str) -> Principal:
        """The person behind a key. Raises NoSuchLogIn."""
        try:
            return self._people[key].principal
        except KeyError:
            raise NoSuchLogIn from None
