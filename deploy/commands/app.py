"""All commands together. Only light modules may be imported here: every command pays for them."""

import sys

import typer

from deploy.commands import (
    accounts,
    cases,
    checks,
    documents,
    keys,
    local,
    matters,
    processes,
    restored,
    subscribers,
    trouble,
)
from deploy.output import explain, explain_usage

app = typer.Typer(
    name="onestop",
    help="A government service hall: run it, look into it, mend it. / 一件事一次办",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (local, processes, checks, documents, restored):
    module.register(app)
app.add_typer(cases.app, name="case")
app.add_typer(trouble.app, name="trouble")
app.add_typer(accounts.app, name="account")
app.add_typer(accounts.sessions, name="session")
app.add_typer(matters.app, name="matter")
app.add_typer(keys.app, name="keys")
app.add_typer(subscribers.app, name="subscribers")
app.add_typer(checks.config, name="config")
app.add_typer(checks.topology, name="topology")
app.add_typer(checks.secrets, name="secrets")
app.add_typer(documents.export, name="export")


def run(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        answer = app(args=arguments, prog_name="onestop", standalone_mode=False)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python would complain once more while closing stdout.
        sys.stdout = sys.stderr
        return 1
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):
            return explain_usage(error)
        return explain(error)
    return answer if isinstance(answer, int) else 0
