"""The network of the fault suite does what it says: else its runs would show nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from .network import Network

PATIENCE_S = 20.0


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.close()


def _echo() -> int:
    """The port of a server that sends back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionResetError):
            while data := connection.recv(100):
                connection.sendall(data)

    def accept() -> None:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    connection.sendall(b"hello")
    assert connection.recv(100) == b"hello"
    return connection


def test_a_cut_stops_two_processes_and_no_others_and_what_was_sent_arrives_when_it_heals(network: Network) -> None:
    network.know("here", os.getpid())
    cut, whole = (_connect(network.publish(name, _echo())) for name in ("broker-1", "broker-2"))
    pair = frozenset(("here", "broker-1"))
    network.cut([pair])
    cut.sendall(b"late")
    for _ in range(50):  # while the other goes on, nothing comes through
        whole.sendall(b"on")
        assert whole.recv(100) == b"on"
    cut.setblocking(False)
    with pytest.raises(BlockingIOError):
        cut.recv(100)
    network.cut([pair])
    network.heal([pair], reset=False)
    with pytest.raises(BlockingIOError):
        cut.recv(100)  # another fault still keeps it cut
    cut.settimeout(PATIENCE_S)
    network.heal([pair], reset=False)
    assert cut.recv(100) == b"late"


def test_connections_that_were_cut_may_break_in_the_end(network: Network) -> None:
    network.know("here", os.getpid())
    port = network.publish("broker-1", _echo())
    connection = _connect(port)
    network.cut([pair := frozenset(("here", "broker-1"))])
    network.heal([pair], reset=True)
    with pytest.raises(ConnectionResetError):
        connection.recv(100)
    _connect(port)


def test_a_connection_to_nobody_breaks(network: Network) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        port = network.publish("broker-1", taken.getsockname()[1])
        with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
            connection.recv(100)
