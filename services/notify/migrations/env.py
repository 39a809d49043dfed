"""Alembic environment of the notify schema."""

from services.notify.models import Base
from shared.db.alembic_env import run

run("notify", Base.metadata)
