"""The commands, put together; only the one that is called is imported, as all of them take half a second."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from .failures import EXIT_CODES

_COMMANDS = {
    "dev": ("dev", "dev"),
    "engine": ("processes", "engine"),
    "worker": ("processes", "worker"),
    "workflow": ("workflow_commands", "app"),
    "activity": ("activity", "app"),
    "deployment": ("deployment", "app"),
    "schedule": ("schedule", "app"),
    "log": ("log", "app"),
    "checkpoint": ("checkpoint", "app"),
    "replay-check": ("replay_check", "replay_check"),
    "stats": ("stats", "stats"),
}
"""By name: the module, and the command or the group of commands in it."""


def application(called: str | None = None) -> typer.Typer:
    """The application with all commands; with the one that is `called` alone, if there is one of that name."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Durable workflows in plain Python, on a Kafka log.",
        epilog=EXIT_CODES,
    )
    app.callback()(_options)
    for name in [called] if called in _COMMANDS else _COMMANDS:
        module, attribute = _COMMANDS[name]
        command = getattr(import_module(f".{module}", __package__), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"odradek {version('odradek')}")
        except PackageNotFoundError:
            print("odradek, not installed as a package")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version, and exit.")
    ] = False,
) -> None:
    """Durable workflows in plain Python, on a Kafka log."""
