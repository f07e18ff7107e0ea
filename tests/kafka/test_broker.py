"""Which broker the tests get."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from ..conftest import need_jars
from .broker import Broker


def test_where_the_broker_is_another_s_only_what_needs_one_of_its_own_is_left_out_and_nothing_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("PATH", str(tmp_path))  # neither Java nor Maven
    with pytest.raises(pytest.skip.Exception, match=r"needs Java 17\+ and Maven"):
        need_jars()
    monkeypatch.setenv("CI", "1")
    need_jars()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be kept")
def test_what_a_broker_will_listen_at_is_taken_until_it_is_stopped() -> None:
    """Breaks when a server of another test gets the port while the broker begins, which takes seconds, or is away."""
    broker = Broker()
    address = ("127.0.0.1", broker.port)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(address)
    with socket.socket() as java:
        java.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        java.bind(address)
        java.listen()
    broker.stop()
    with socket.socket() as other:
        other.bind(address)
