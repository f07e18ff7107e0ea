"""Where the example programs run: on a folder, and on a real Apache Kafka with an engine of its own process."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

import pytest

from ..cli.running import running, stop


@pytest.fixture(scope="session")
def kafka_engine(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """An engine process on Kafka, and the environment of programs that use it."""
    env = {"ODRADEK_ADDRESS": f"kafka://{kafka_bootstrap}", "ODRADEK_NAMESPACE": f"examples-{secrets.token_hex(4)}"}
    with running("engine", "--data", str(tmp_path_factory.mktemp("state")), "--partitions", "4", env=env) as engine:
        engine.wait_for("Engine running")
        yield env
        assert stop(engine) == 0


@pytest.fixture(params=["embedded", "kafka"])
def either_log(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The environment of programs that run on a folder of their own, or on Kafka."""
    if request.param == "embedded":
        return {}
    env: Mapping[str, str] = request.getfixturevalue("kafka_engine")
    return env
