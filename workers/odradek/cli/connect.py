"""From an address to the operations on workflows."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from odradek_log import LogLockedError
from odradek_schemas import InvalidNameError

from .. import errors
from .._client import Client
from .._gateway import ClientService, WorkflowService
from .failures import CommandError, ExitCode

HOST = "127.0.0.1"
DEFAULT_PORT = 7233
DEFAULT_ADDRESS = f"http://{HOST}:{DEFAULT_PORT}"
SERVER_FILE = "server.json"
"""What a running `odradek dev` leaves in its folder: where it can be reached."""

_FORMS = "http://host:port of a running `odradek dev`, kafka://host:port, or file:./folder"


def identity() -> str:
    """Who asks, for people: the user and the machine, in letters that a header can hold."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an unknown user, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}".encode("ascii", "replace").decode()


@asynccontextmanager
async def connect(address: str, namespace: str, timeout: float) -> AsyncIterator[WorkflowService]:
    """The operations at an address; without one, those of a `dev` server on this machine.

    Raises CommandError for a wrong address or a folder that is not there, UnavailableError if nobody answers.
    """
    if address.startswith(("http://", "https://")) or not address:
        from .._gateway.remote import HttpService  # slow to import, as it brings an HTTP client

        async with HttpService(address or DEFAULT_ADDRESS, namespace, timeout, identity()) as service:
            with _hint_where_to_look(given=bool(address)):
                yield service
    elif address.startswith(("kafka://", "file:")):
        if address.startswith("file:"):
            existing_folder(address)
        settings = {"request_timeout": timeout} if address.startswith("kafka://") else {}
        try:
            client = Client(
                address, namespace=namespace, request_timeout=timeout, log_settings=settings, identity=identity()
            )
        except InvalidNameError as error:
            raise CommandError(ExitCode.USAGE, f"--{error}") from None
        except ValueError as error:
            raise CommandError(ExitCode.USAGE, f"--address: {error}") from None
        with running_process_told(address, "speak to it: --address {served}"):
            await client.__aenter__()
        try:
            yield ClientService(client, timeout)
        finally:
            await client.__aexit__(None, None, None)
    else:
        raise CommandError(ExitCode.USAGE, f"--address {address}: an address is {_FORMS}")


@contextmanager
def _hint_where_to_look(given: bool) -> Iterator[None]:
    try:
        yield
    except errors.UnavailableError as error:
        hint = "Start one with `odradek dev FILE`, or check the address."
        if not given:
            hint = (
                "Start one with `odradek dev FILE`, or say where yours is: --address (or ODRADEK_ADDRESS) "
                "kafka://host:port or http://127.0.0.1:port."
            )
        raise CommandError(ExitCode.UNAVAILABLE, str(error), hint) from error


def existing_folder(address: str) -> Path:
    """The folder of a `file:` address. Raises CommandError if it holds no log: looking must not make one."""
    rest = address.removeprefix("file:")
    folder = Path(unquote(urlsplit(address).path) if rest.startswith("//") else rest)
    if not (folder / "topics.json").exists():
        raise CommandError(
            ExitCode.NOT_FOUND,
            f"there is no log in the folder {folder.absolute()}",
            "Check the path; `odradek dev FILE --data FOLDER` makes a new one.",
        )
    return folder


@contextmanager
def running_process_told(address: str, advice: str) -> Iterator[None]:
    """If the folder is open in another process, say what to do; `{served}` in that is where that one can be reached."""
    try:
        yield
    except (LogLockedError, errors.UnavailableError) as error:
        locked = error if isinstance(error, LogLockedError) else error.__cause__
        if not isinstance(locked, LogLockedError) or not address.startswith("file:"):
            raise
        served = served_address(existing_folder(address))
        hint = f"It is an `odradek dev`: {advice.format(served=served)}" if served else ""
        raise CommandError(ExitCode.UNAVAILABLE, str(locked), hint) from error


def served_address(folder: Path) -> str:
    """Where the process that has the folder open can be reached; empty if it did not say so."""
    try:
        found = json.loads((folder / SERVER_FILE).read_text())
        return str(found["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
