"""Fixtures for all tests: a real Apache Kafka."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from .kafka.broker import KAFKA_VERSION, Broker, free_port, jars_can_be_had

hypothesis.settings.register_profile("odradek", deadline=None)  # a busy machine is no bug
_PHASES = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
hypothesis.settings.register_profile("unshrunk", deadline=None, phases=_PHASES)
hypothesis.settings.load_profile("odradek")

_IMAGE = f"apache/kafka:{KAFKA_VERSION}"
_FIRST = ("simulation/test_simulation", "chaos/test_chaos", "examples/test_pages", "stats/test_stats_on_kafka")
_collected_for: Path | None = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: at the end no process is left with one while the others have nothing."""
    order = {Path(__file__).parent / f"{name}.py": place for place, name in enumerate(_FIRST)}
    assert all(path.exists() for path in order)
    items.sort(key=lambda item: order.get(item.path, len(order)))
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            mark = item.get_closest_marker("timeout")
            whole = mark.args[0] if mark is not None and mark.args else float(item.config.getini("timeout"))
            item.obj = _ended_in_time(item.obj, whole * 0.9)


def _ended_in_time(
    test: Callable[..., Coroutine[Any, Any, None]], seconds: float
) -> Callable[..., Coroutine[Any, Any, None]]:
    """pytest-timeout, a little later, would only show an event loop that waits, not what for."""

    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return bounded


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before a test that takes warnings for errors: those of what earlier files have left to the garbage, and which
    would come whenever it is collected, are not its own."""
    global _collected_for
    if item.get_closest_marker("filterwarnings") is not None and item.path != _collected_for:
        _collected_for = item.path
        with warnings.catch_warnings(action="ignore"):
            gc.collect()


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """The address of an Apache Kafka: KAFKA_BOOTSTRAP_SERVERS, else a container, else the jars by Maven.

    Fails, never skips, if none of the three can be had.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
    elif _docker_answers():
        yield from _container()
    else:
        with Broker() as broker:
            yield broker.bootstrap


@pytest.fixture(scope="session")
def broker_from_jars() -> None:
    """For tests that kill, stop or configure a broker, which takes the jars."""
    need_jars()


def need_jars() -> None:
    """Skip the test where there are no jars, and the other tests have a broker from elsewhere. In CI, and where no
    broker can be had at all, it runs, and fails."""
    elsewhere = "KAFKA_BOOTSTRAP_SERVERS" in os.environ or _docker_answers()
    if elsewhere and not jars_can_be_had() and "CI" not in os.environ:
        pytest.skip("a broker that is killed or configured needs Java 17+ and Maven")


def _docker_answers() -> bool:
    import docker  # type: ignore[import-untyped]

    try:
        return bool(docker.from_env(timeout=5).ping())
    except (docker.errors.DockerException, OSError):
        return False


def _container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    port = free_port()
    container = DockerContainer(_IMAGE).with_bind_ports(9092, port)
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    for name, value in settings.items():
        container.with_env(name, value)
    with container:
        wait_for_logs(container, "Kafka Server started", timeout=60)
        yield f"127.0.0.1:{port}"
