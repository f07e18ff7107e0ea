"""The fault suite in short: three brokers, three engines, four workers, a client, and a few faults of each sort."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..kafka.broker import jars_can_be_had
from ..kafka.cluster import Cluster, ClusterElsewhere
from .faults import OF_PROCESSES, Lengths, plan
from .network import Network
from .suite import Suite, running

SHORT = Lengths(restart=(0.0, 1.0), stop=(2.0, 5.0), stop_broker=(2.0, 4.0), cut=(3.0, 6.0), after=1.0, two_at_once=1.0)
SESSION_S = 4.0


def a_few(rng: random.Random) -> list[str]:
    """One fault of each sort; engines get two."""
    return [
        rng.choice(("kill engine", "stop engine")), rng.choice(("kill broker", "stop broker", "kill controller")),
        rng.choice(("kill worker", "stop worker", "kill client", "stop client")),
        rng.choice(("cut engine", "cut worker", "cut client", "cut broker")),
    ]  # fmt: skip


@contextmanager
def a_cluster(bootstrap: pytest.FixtureRequest, network: Network) -> Iterator[Cluster | ClusterElsewhere]:
    """Three brokers from the jars; where those cannot be had, the one broker that the other tests use."""
    if jars_can_be_had():
        with running(network, 3) as cluster:
            yield cluster
    else:
        yield ClusterElsewhere(bootstrap.getfixturevalue("kafka_bootstrap"))


@pytest.mark.timeout(420)
async def test_nothing_is_lost_or_doubled_while_brokers_and_processes_fail(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    seed = int(os.environ.get("ODRADEK_CHAOS_SEED") or random.randrange(10**6))
    network = Network()
    try:
        with a_cluster(request, network) as cluster:
            kinds = a_few(random.Random(seed)) if cluster.brokers else OF_PROCESSES
            rounds = plan(seed, len(kinds), kinds, len(cluster.brokers), SHORT)
            report = await Suite(cluster, network, tmp_path, in_flight=10, session_s=SESSION_S).run(rounds)
    finally:
        network.close()
    assert report.problems == [], f"seed {seed}; output in {tmp_path}"
    assert len(report.struck) == len(kinds)
    assert report.outcome.orders >= 10
    assert report.outcome.stores >= 1
