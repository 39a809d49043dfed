"""What a service's web.py gets from the process that hosts it."""

from dataclasses import dataclass

from jinja2 import Environment

from shared.bus.context import ServiceContext


@dataclass(frozen=True, slots=True)
class WebContext:
    """One service in one web process."""

    service: ServiceContext
    pages: Environment
