"""Alembic environment of the approval schema."""

from services.approval.models import Base
from shared.db.alembic_env import run

run("approval", Base.metadata)
