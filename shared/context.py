"""Builds what a process hands to a service: engine, vault, hints, published matters."""

from functools import partial

from shared.ask import Asker
from shared.bus.context import ServiceContext
from shared.bus.exclusion import Exclusion
from shared.bus.guard import Guard
from shared.bus.hints import Hints
from shared.bus.witness import FileWitness, Witness
from shared.catalogue.published import Published
from shared.db.engine import POOL_SIZE, engine_for
from shared.db.roles import app_role
from shared.db.sealing import DataKeyTable, look_again_when_refused
from shared.privacy.secret_files import load_master_keys
from shared.privacy.vault import Vault
from shared.settings import Settings


def build_context(
    settings: Settings,
    service: str,
    asker: Asker | None = None,
    *,
    exclusion: Exclusion | None = None,
    people_wait: bool = False,
    guarded: bool = False,
) -> ServiceContext:
    """The context of `service` in this process. Nothing connects before the first use.

    `asker` asks in the service's name; the default one asks over HTTP only. `exclusion` is the process's,
    where it holds several services. `people_wait` is for processes that answer requests: dead pooled
    connections are replaced beforehand. `guarded` is for processes that do the service's work.
    """
    role = app_role(service)
    sessions = settings.web.sessions if people_wait else POOL_SIZE
    engine = engine_for(settings, role, people_wait=people_wait, pool_size=sessions)
    keys = engine_for(settings, role, pool_size=0, people_wait=people_wait)
    vault = Vault(service, partial(load_master_keys, settings, service), DataKeyTable(keys))
    look_again_when_refused(engine, vault.keyring.look_again)
    witness = witness_of(settings, service) if guarded else None
    guard = Guard(service, engine, witness) if witness is not None else None
    return ServiceContext(
        service=service,
        settings=settings,
        engine=engine,
        # Listening and hinting each hold a connection for good; they must not take it from the work.
        hints=Hints(engine_for(settings, role, pool_size=2, direct=True)),
        vault=vault,
        matters=Published(engine),
        asker=asker or Asker(settings, service, {}, {}),
        exclusion=exclusion or Exclusion(),
        guard=guard,
    )


def witness_of(settings: Settings, service: str) -> Witness | None:
    """Where the service's database has its witness; None where the settings name no place for one."""
    return FileWitness(settings.witness_dir / service) if settings.witness_dir is not None else None
