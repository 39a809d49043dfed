"""`onestop openapi`, `asyncapi` and `export`: documents generated from the code."""

import typer

from deploy.output import emit_json, emit_text

export = typer.Typer(no_args_is_help=True, help="Files for other tools.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("openapi")(openapi)
    app.command("asyncapi")(asyncapi)


def openapi() -> int:
    """The OpenAPI 3.1 document of the HTTP API."""
    from deploy.generated import openapi_document

    emit_json(openapi_document())
    return 0


def asyncapi() -> int:
    """The AsyncAPI 3 document of the events."""
    from deploy.generated import asyncapi_document

    emit_json(asyncapi_document())
    return 0


@export.command("compose")
def compose() -> int:
    """docker-compose.yml: PostgreSQL, RabbitMQ, migration, and each service apart."""
    from deploy.compose import compose_text

    emit_text(compose_text())
    return 0
