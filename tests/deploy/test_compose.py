"""docker-compose.yml where there is no Docker: each service's command runs as a process of this machine.

That images can be pulled and built cannot be shown without Docker; all else that the files say can.
"""

from __future__ import annotations

import json
import re
import signal
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import yaml

from ..cli.running import ROOT, SECONDS, Process, odradek_here, running, until
from ..kafka.broker import KAFKA_VERSION, Broker

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
READY = {
    "engine": "Engine running on",
    "worker": "Worker running on .*task queue orders: .*Order",
    "stats": "Counting",
}
"""What each service says when it runs, in the order in which they need each other."""
POKE = '{"id": 1, "name": "Poke", "cents": 1299}'


def stages() -> list[list[tuple[str, str]]]:
    """The Dockerfile's instructions with their arguments, by stage."""
    lines = [line for line in (ROOT / "deploy/Dockerfile").read_text().splitlines() if not line.startswith("#")]
    found: list[list[tuple[str, str]]] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, arguments = line.split(maxsplit=1)
            if name == "FROM":
                found.append([])
            found[-1].append((name, arguments))
    return found


def last(instruction: str) -> str:
    """What an instruction of the final stage says."""
    return [arguments for name, arguments in stages()[-1] if name == instruction][-1]


class ComposeBroker(Broker):
    """The `kafka` service as a process: its environment as settings, its ports as free ones of this machine."""

    def _defaults(self) -> dict[str, str]:
        ports = {"19092": self.port, "9092": self.new_port(), "9093": self.controller_port}
        settings = super()._defaults()
        for name, value in SERVICES["kafka"]["environment"].items():
            setting = name.removeprefix("KAFKA_").lower().replace("_", ".")
            if setting not in ("log.dirs", "controller.quorum.voters"):  # a folder, and how this machine's is formatted
                settings[setting] = re.sub(
                    r"(kafka|localhost)?:(\d{4,5})\b", lambda m: f"127.0.0.1:{ports[m[2]]}", str(value)
                )
        return settings


@pytest.fixture(scope="module")
def broker(broker_from_jars: None) -> Iterator[Broker]:
    with ComposeBroker() as started:
        yield started


@pytest.fixture(scope="module")
def containers(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Process]]:
    """The processes of all services but `kafka`, running until the last test of them stops them."""
    processes: dict[str, Process] = {}
    with ExitStack() as stack:
        for service, says in READY.items():
            folder = tmp_path_factory.mktemp(service)
            process = running(*command(service), env=environment(service, broker), cwd=folder)
            processes[service] = stack.enter_context(process)
            processes[service].wait_for(says)
        assert {"kafka", *processes} == SERVICES.keys()
        yield processes


def command(service: str) -> list[str]:
    """The arguments after `odradek`, with the image's folders as those of this machine."""
    assert json.loads(last("ENTRYPOINT")) == ["odradek"]
    return [word.replace("/app/", f"{ROOT}/") for word in SERVICES[service]["command"]]


def environment(service: str, broker: Broker) -> dict[str, str]:
    given = SERVICES[service]["environment"]
    return {name: value.replace("kafka:19092", broker.bootstrap) for name, value in given.items()}


def test_an_order_runs_through_kafka(broker: Broker, containers: dict[str, Process]) -> None:
    """What the comment at the head of the file shows, in its own words."""
    there = environment("engine", broker)
    start = ("workflow", "start", "Order", "--id", "order-42", "--task-queue", "orders")
    done = odradek_here(*start, "--input", POKE, "--input", '{"rating_after": 0.2}', env=there)
    assert done.code == 0, done.err
    containers["worker"].wait_for("charged 12.99 for Poke")
    status = ("workflow", "query", "order-42", "status")
    until(lambda: "paid" in odradek_here(*status, env=there).out, "the order is paid")
    for message in ("picked_up", "delivered"):
        assert odradek_here("workflow", "signal", "order-42", message, env=there).code == 0
    containers["worker"].wait_for("notified the customer: Rate your Poke")
    result = odradek_here("workflow", "result", "order-42", env=there)
    assert (result.code, "ch_" in result.out) == (0, True), result.err
    counts = counted("Order", there)
    assert counts["Order"] == {**dict.fromkeys(counts["Order"], 0), "started": 1, "completed": 1}
    assert "delivered" in odradek_here(*status, env=there).out


def counted(workflow_type: str, environment: dict[str, str]) -> dict[str, dict[str, int]]:
    """What `odradek stats` says once nothing is left to count and none of the type is open: the history of a workflow
    is published up to half a second after its result."""
    give_up = time.monotonic() + SECONDS
    while True:
        found = odradek_here("stats", "--json", env=environment)
        assert found.code == 0, found.err
        types: dict[str, dict[str, int]] = found.json["types"]
        if not found.json["behind"] and types.get(workflow_type, {}).get("open") == 0:
            return types
        assert time.monotonic() < give_up, f"the read model stays behind: {found.out}"


def test_services_stop_in_time_when_compose_asks(containers: dict[str, Process]) -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace < 60, "what the wait below allows"
    for process in reversed([*containers.values()]):
        process.send(signal.SIGTERM)
        assert process.wait() == 0


def test_the_kafka_is_the_one_that_the_tests_run() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_the_broker_is_healthy_by_its_own_listener() -> None:
    """The check asks where engines and workers do, and they wait for it."""
    assert "localhost:19092" in SERVICES["kafka"]["healthcheck"]["test"]
    for service in ("engine", "worker"):
        assert SERVICES[service]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
        assert SERVICES[service]["environment"]["ODRADEK_ADDRESS"] == "kafka://kafka:19092"
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert "INTERNAL://kafka:19092" in listeners
    assert "EXTERNAL://localhost:9092" in listeners
    assert SERVICES["kafka"]["ports"] == ["127.0.0.1:9092:9092"], "unencrypted, so for this machine alone"


def test_the_image_is_built_from_what_is_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [a.split()[:-1] for stage in stages() for name, a in stage if name == "COPY" and "--from" not in a]
    sources = {source for group in copied for source in group}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, f"{source} is copied, but .dockerignore leaves it out"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert package.partition("/")[0] in sources
    assert {project["project"]["readme"], "pyproject.toml", "LICENSE", "examples"} <= sources
    build = SERVICES["engine"]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).samefile(ROOT / "deploy/Dockerfile")


def test_the_image_runs_without_privileges_and_without_leftovers() -> None:
    final = [name for name, _ in stages()[-1]]
    assert final.index("USER") < final.index("ENTRYPOINT")
    assert last("USER") not in ("root", "0")
    assert last("WORKDIR") == last("VOLUME") == "/data"
    installs = [a for stage in stages() for name, a in stage if name == "RUN" and "pip install" in a]
    assert installs
    assert all("--no-cache-dir" in install for install in installs)
    assert not any("pip install" in arguments for _, arguments in stages()[-1]), "tools to build stay in their stage"
