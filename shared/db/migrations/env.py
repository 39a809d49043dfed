"""Alembic environment of the schema `onestop`: clock, subscriptions, published matters."""

from shared.db.alembic_env import run
from shared.db.common import metadata

run("onestop", metadata)
