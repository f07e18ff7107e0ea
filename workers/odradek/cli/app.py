"""The commands, put together."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from . import (
    activity,
    batch,
    checkpoint,
    deployment,
    log,
    messages,
    operations,
    replay_check,
    replaying,
    schedule,
    workflow,
)
from .dev import dev
from .failures import EXIT_CODES
from .processes import engine, worker
from .stats import stats

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Durable workflows in plain Python, on a Kafka log.",
    epilog=EXIT_CODES,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"odradek {version('odradek')}")
        except PackageNotFoundError:
            print("odradek, not installed as a package")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and exit.")
    ] = False,
) -> None:
    """Durable workflows in plain Python, on a Kafka log."""


app.command()(dev)
app.command()(engine)
app.command()(worker)
workflow.app.command()(replaying.export)
workflow.app.command()(replaying.replay)
messages.add_to(workflow.app)
operations.add_to(workflow.app)
batch.add_to(workflow.app)
app.add_typer(workflow.app, name="workflow")
app.add_typer(activity.app, name="activity")
app.add_typer(deployment.app, name="deployment")
app.add_typer(schedule.app, name="schedule")
app.add_typer(log.app, name="log")
app.add_typer(checkpoint.app, name="checkpoint")
app.command("replay-check")(replay_check.replay_check)
app.command()(stats)
