"""Real Kafka brokers on this machine that form one cluster, each also a controller: what may fail of them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import TypeAlias

from .broker import Broker, BrokerError

SIZE = 3
IN_SYNC_TIMEOUT = 120.0
Publish: TypeAlias = Callable[[str, int], int]
"""(the name of a broker, a port that it listens at) -> the port at which others are to reach it."""


def broker_name(number: int) -> str:
    return f"broker-{number}"


class Cluster:
    """Three brokers keep three copies of everything and acknowledge what two have: any one of them may go.

    `publish`: gives each port of a broker another one, at which everybody reaches it, the other brokers too; those who
    begin at `direct` reach the brokers themselves. `size`: 3, or 1.
    """

    def __init__(self, heap: str = "384m", publish: Publish | None = None, size: int = SIZE) -> None:
        publish = publish or (lambda name, port: port)
        self.brokers = [Broker(heap=heap) for _ in range(size)]
        copies, enough = str(size), str(size // 2 + 1)
        ports, self._direct, voters = [], [], []
        for number, broker in enumerate(self.brokers, 1):
            name, direct = broker_name(number), broker.new_port()
            ports.append((publish(name, broker.port), publish(name, broker.controller_port)))
            self._direct.append(f"127.0.0.1:{direct}")
            voters.append(f"{number}@127.0.0.1:{ports[-1][1]}")
        for number, (broker, direct_address, (port, controller_port)) in enumerate(
            zip(self.brokers, self._direct, ports, strict=True), 1
        ):
            broker.bootstrap = direct_address
            broker.configure({
                "node.id": str(number), "min.insync.replicas": enough, "replica.lag.time.max.ms": "5000",
                "offsets.topic.replication.factor": copies, "transaction.state.log.replication.factor": copies,
                "transaction.state.log.min.isr": enough, "share.coordinator.state.topic.replication.factor": copies,
                "share.coordinator.state.topic.min.isr": enough,
                "controller.quorum.voters": ",".join(voters), "controller.quorum.bootstrap.servers": None,
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT",
                "listeners": f"PLAINTEXT://127.0.0.1:{broker.port},DIRECT://{direct_address},"
                             f"CONTROLLER://127.0.0.1:{broker.controller_port}",
                "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},DIRECT://{direct_address},"
                                        f"CONTROLLER://127.0.0.1:{controller_port}",
                "broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000",  # Kafka's own
                "controller.quorum.fetch.timeout.ms": "4000",  # a busy machine
                "inter.broker.listener.name": "PLAINTEXT", "num.network.threads": "2", "num.io.threads": "4",
            })  # fmt: skip
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port, _ in ports)

    @property
    def direct(self) -> str:
        """Addresses that lead to the brokers themselves, whatever was published."""
        return ",".join(self._direct)

    def start(self) -> Cluster:
        """Start all, and wait until all are in each other's metadata. Raises BrokerError."""
        self.spawn()
        self.wait()
        return self

    def spawn(self) -> None:
        """Start their processes, which end with this thread. Raises BrokerError."""
        first, *others = self.brokers
        first.spawn()
        for broker in others:
            broker.format_like(first)
            broker.spawn()

    def wait(self) -> None:
        """Wait until all answer, and are in each other's metadata. Raises BrokerError."""
        for broker in self.brokers:  # one alone has no quorum, and does not answer
            broker.wait()
        self.wait_in_sync()

    def wait_in_sync(self) -> None:
        """Wait until every partition has all its copies: then the next broker may fail. Raises BrokerError."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.direct, "log_level": 0, "reconnect.backoff.ms": 50})
        give_up = time.monotonic() + IN_SYNC_TIMEOUT
        while time.monotonic() < give_up:
            with contextlib.suppress(KafkaException):
                metadata = admin.list_topics(timeout=1.0)
                parts = [p for topic in metadata.topics.values() for p in topic.partitions.values()]
                complete = all(p.leader >= 0 and len(p.isrs) == len(p.replicas) for p in parts)
                if len(metadata.brokers) == len(self.brokers) and complete:
                    return
            time.sleep(0.2)  # nothing announces it
        raise BrokerError(f"the brokers are not in sync after {IN_SYNC_TIMEOUT:g} s")

    def controller(self) -> int:
        """The number of the broker that leads the controllers, as far as the brokers' folders tell."""
        known = [(0, 1)]
        for broker in self.brokers:
            for file in broker.folder.glob("data/__cluster_metadata-0/quorum-state"):
                with contextlib.suppress(ValueError):  # it is being written
                    state = json.loads(file.read_text())
                    known.append((state["leaderEpoch"], state["leaderId"]))
        return max((epoch, leader) for epoch, leader in known if leader > 0)[1]

    def stop(self) -> None:
        for broker in self.brokers:
            broker.stop()

    def __enter__(self) -> Cluster:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


class ClusterElsewhere:
    """Brokers that others run: nothing can be done to them."""

    def __init__(self, bootstrap: str) -> None:
        self.brokers: list[Broker] = []
        self.bootstrap = self.direct = bootstrap

    def wait_in_sync(self) -> None:
        pass
