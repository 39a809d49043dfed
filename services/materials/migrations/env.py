"""Alembic environment of the materials schema."""

from services.materials.models import Base
from shared.db.alembic_env import run

run("materials", Base.metadata)
