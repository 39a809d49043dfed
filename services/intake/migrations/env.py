"""Alembic environment of the intake schema."""

from services.intake.models import Base
from shared.db.alembic_env import run

run("intake", Base.metadata)
