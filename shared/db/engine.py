"""One engine per role and process."""

from sqlalchemy import Engine, create_engine

from shared.settings import Settings, database_url


def engine_for(settings: Settings, role: str, *, pool_size: int = 5, pre_ping: bool = False) -> Engine:
    """The engine of one database role. Nothing connects before the first use.

    `pre_ping` is for processes that answer people: a pooled connection that died with the database is
    replaced instead of failing their request. Workers repeat by themselves and save the round trip.
    """
    return create_engine(
        database_url(settings, role),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=0.8,
        pool_pre_ping=pre_ping,
        hide_parameters=True,
        executemany_mode="values_plus_batch",
        insertmanyvalues_page_size=1000,
        executemany_batch_page_size=1000,
    )
