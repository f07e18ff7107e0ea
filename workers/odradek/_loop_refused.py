"""What an event loop can do and a workflow must not: each method raises, and says what to use instead."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from .errors import NonDeterministicCallError

_IN_AN_ACTIVITY = "do it in an activity, and call the activity here"
_THREADS = f"a thread runs at its own pace, and a replay would run it again; {_IN_AN_ACTIVITY}"
_NETWORK = f"the network answers differently on every replay; {_IN_AN_ACTIVITY}"
_PROCESSES = f"a subprocess would be started again on every replay; {_IN_AN_ACTIVITY}"
_SIGNALS = "signals of the operating system reach one process only; use a signal of the workflow (`@workflow.signal`)"
_OWNED = "the worker runs the loop of a workflow"
_SETTINGS = "the loop of a workflow has fixed settings, so that every replay runs alike"


def _refuse(name: str, reason: str) -> Any:
    def method(self: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> NoReturn:
        for value in args:
            if asyncio.iscoroutine(value):
                value.close()  # no "was never awaited" on top of the error
        raise NonDeterministicCallError(f"loop.{name}() does not work inside a workflow: {reason}")

    method.__name__ = name
    return method


class RefusedCalls(asyncio.AbstractEventLoop):
    """The part of the event loop interface that workflows do not have."""

    run_in_executor: Any = _refuse("run_in_executor", _THREADS)  # also what to_thread calls
    set_default_executor: Any = _refuse("set_default_executor", _THREADS)
    shutdown_default_executor: Any = _refuse("shutdown_default_executor", _THREADS)

    add_reader: Any = _refuse("add_reader", _NETWORK)
    remove_reader: Any = _refuse("remove_reader", _NETWORK)
    add_writer: Any = _refuse("add_writer", _NETWORK)
    remove_writer: Any = _refuse("remove_writer", _NETWORK)
    sock_recv: Any = _refuse("sock_recv", _NETWORK)
    sock_recv_into: Any = _refuse("sock_recv_into", _NETWORK)
    sock_recvfrom: Any = _refuse("sock_recvfrom", _NETWORK)
    sock_recvfrom_into: Any = _refuse("sock_recvfrom_into", _NETWORK)
    sock_sendall: Any = _refuse("sock_sendall", _NETWORK)
    sock_sendto: Any = _refuse("sock_sendto", _NETWORK)
    sock_connect: Any = _refuse("sock_connect", _NETWORK)
    sock_accept: Any = _refuse("sock_accept", _NETWORK)
    sock_sendfile: Any = _refuse("sock_sendfile", _NETWORK)
    getaddrinfo: Any = _refuse("getaddrinfo", _NETWORK)
    getnameinfo: Any = _refuse("getnameinfo", _NETWORK)
    create_connection: Any = _refuse("create_connection", _NETWORK)
    create_server: Any = _refuse("create_server", _NETWORK)
    create_unix_connection: Any = _refuse("create_unix_connection", _NETWORK)
    create_unix_server: Any = _refuse("create_unix_server", _NETWORK)
    create_datagram_endpoint: Any = _refuse("create_datagram_endpoint", _NETWORK)
    connect_accepted_socket: Any = _refuse("connect_accepted_socket", _NETWORK)
    connect_read_pipe: Any = _refuse("connect_read_pipe", _NETWORK)
    connect_write_pipe: Any = _refuse("connect_write_pipe", _NETWORK)
    start_tls: Any = _refuse("start_tls", _NETWORK)
    sendfile: Any = _refuse("sendfile", _NETWORK)

    subprocess_shell: Any = _refuse("subprocess_shell", _PROCESSES)
    subprocess_exec: Any = _refuse("subprocess_exec", _PROCESSES)

    add_signal_handler: Any = _refuse("add_signal_handler", _SIGNALS)
    remove_signal_handler: Any = _refuse("remove_signal_handler", _SIGNALS)

    run_forever: Any = _refuse("run_forever", _OWNED)
    run_until_complete: Any = _refuse("run_until_complete", f"{_OWNED}; `await` it instead")
    stop: Any = _refuse("stop", f"{_OWNED}; return from `run` to end the workflow")
    shutdown_asyncgens: Any = _refuse("shutdown_asyncgens", _OWNED)

    set_task_factory: Any = _refuse("set_task_factory", _SETTINGS)
    set_exception_handler: Any = _refuse("set_exception_handler", _SETTINGS)
    get_exception_handler: Any = _refuse("get_exception_handler", _SETTINGS)
    default_exception_handler: Any = _refuse("default_exception_handler", _SETTINGS)
    set_debug: Any = _refuse("set_debug", _SETTINGS)
