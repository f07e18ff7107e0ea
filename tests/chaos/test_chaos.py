"""The fault suite in short: three brokers, three engines, four workers, 100 orders at a time, 25 faults at once."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..kafka.broker import jars_can_be_had
from ..kafka.cluster import Cluster, ClusterElsewhere
from .faults import OF_BROKERS, OF_NETWORK, Lengths, plan
from .network import Network
from .suite import Suite, running

SHORT = Lengths(restart=(0.0, 1.0), stop_broker=(2.0, 4.0), cut=(3.0, 6.0), gap=(0.5, 2.0))
SESSION_S = 4.0
EACH = 5
IN_FLIGHT = 100


def a_few(rng: random.Random, brokers: int) -> list[str]:
    """Engines and workers are killed and stopped (for 20 s), so often each; some leave and join; and something else
    happens to brokers, the network and the client."""
    of_processes = [f"{how} {who}" for how in ("kill", "stop") for who in ("engine", "worker")] * EACH
    of_processes += ["leave engine", "leave worker", rng.choice(("kill client", "stop client"))]
    if not brokers:
        return of_processes
    return [*of_processes, rng.choice(OF_BROKERS), rng.choice(OF_NETWORK)]


@contextmanager
def a_cluster(bootstrap: pytest.FixtureRequest, network: Network) -> Iterator[Cluster | ClusterElsewhere]:
    """Three brokers from the jars; where those cannot be had, the one broker that the other tests use."""
    if jars_can_be_had():
        with running(network, 3) as cluster:
            yield cluster
    else:
        yield ClusterElsewhere(bootstrap.getfixturevalue("kafka_bootstrap"))


@pytest.mark.timeout(600)
async def test_nothing_is_lost_or_doubled_while_brokers_and_processes_fail(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    seed = int(os.environ.get("ODRADEK_CHAOS_SEED") or random.randrange(10**6))
    network = Network()
    try:
        with a_cluster(request, network) as cluster:
            kinds = a_few(random.Random(seed), len(cluster.brokers))
            faults = plan(seed, kinds, len(cluster.brokers), SHORT)
            report = await Suite(cluster, network, tmp_path, in_flight=IN_FLIGHT, session_s=SESSION_S).run(faults)
    finally:
        network.close()
    assert report.problems == [], f"seed {seed}; output in {tmp_path}"
    assert len(report.struck) == len(kinds)
    assert report.fewest_open >= IN_FLIGHT * 3 // 4
    assert report.outcome.stores >= 1
