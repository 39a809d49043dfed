"""What a service's web.py gets from the process that hosts it."""

from dataclasses import dataclass

from jinja2 import Environment

from shared.auth.identity import DevIdentity
from shared.db.unit import Desk
from shared.http.ask import Asker
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class WebContext:
    """One service in one web process."""

    settings: Settings
    desk: Desk
    asker: Asker
    pages: Environment
    identity: DevIdentity
