"""Three real Kafka brokers on this machine, each also a controller: what may fail of them, one at a time."""

from __future__ import annotations

import contextlib
import time

from .broker import Broker, BrokerError

SIZE = 3
IN_SYNC_TIMEOUT = 120.0


class Cluster:
    """Brokers that keep three copies of everything and acknowledge what two have; any one of them may go."""

    def __init__(self, heap: str = "384m") -> None:
        self.brokers = [Broker(heap=heap) for _ in range(SIZE)]
        voters = ",".join(f"{n}@127.0.0.1:{b.controller_port}" for n, b in enumerate(self.brokers, 1))
        copies = {
            f"{topic}.{setting}": count
            for topic in ("transaction.state.log", "share.coordinator.state.topic")
            for setting, count in (("replication.factor", "3"), ("min.isr", "2"))
        }
        for number, broker in enumerate(self.brokers, 1):
            broker.configure({
                **copies, "node.id": str(number), "offsets.topic.replication.factor": "3", "min.insync.replicas": "2",
                "controller.quorum.voters": voters, "controller.quorum.bootstrap.servers": None,
                "replica.lag.time.max.ms": "5000",
            })  # fmt: skip

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> Cluster:
        """Start all, and wait until all are in each other's metadata. Raises BrokerError."""
        for broker in self.brokers:
            broker.spawn()
        for broker in self.brokers:  # one alone has no quorum, and does not answer
            broker.wait()
        self.wait_in_sync()
        return self

    def wait_in_sync(self) -> None:
        """Wait until every partition has all its copies: then the next broker may fail. Raises BrokerError."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.ms": 50})
        give_up = time.monotonic() + IN_SYNC_TIMEOUT
        while time.monotonic() < give_up:
            with contextlib.suppress(KafkaException):
                metadata = admin.list_topics(timeout=1.0)
                parts = [p for topic in metadata.topics.values() for p in topic.partitions.values()]
                if len(metadata.brokers) == SIZE and all(len(p.isrs) == len(p.replicas) for p in parts):
                    return
            time.sleep(0.2)  # nothing announces it
        raise BrokerError(f"the brokers are not in sync after {IN_SYNC_TIMEOUT:g} s")

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
