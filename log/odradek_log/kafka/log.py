"""A Kafka cluster as a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakSet

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ClusterMetadata,
    NewTopic,
)

from ..protocol import LogError, TopicPartition, TopicSpec
from .config import COMMON, CONSUMER, PRODUCER, from_environment, parse_address, replication
from .consumer import KafkaConsumer
from .errors import is_refusal, kafka_error, kafka_problem, not_now, translate, wrong_setting
from .offsets import OffsetListing, Wanted
from .producer import KafkaProducer
from .said import rdkafka_logger

_BATCH_OVERHEAD = 4_096
_BROKER_MAX_RECORD = 1_000_000
_LEADERS_KNOWN_S = 300.0  # librdkafka forgets them after three times as long, or `metadata.max.age.ms`


class KafkaLog:
    """A log on Apache Kafka (see `odradek_log.Log`).

    url: `kafka://host:port[,host:port]`, with settings of librdkafka after a `?` if need be.
    config: settings of librdkafka: `security.protocol`, `sasl.*`, `ssl.*`, ... They win over those in the URL, which
        win over environment variables such as ODRADEK_KAFKA_SECURITY_PROTOCOL.
    replication_factor, min_insync_replicas: of topics that are created. Default: 1/1 on one broker, 2/1 on two,
        3/2 on more.
    request_timeout: seconds after which a call that needs a broker gives up with LogUnavailableError. Where brokers
        answer, and a partition has no leader, its offsets are asked for until there is one, for up to 20 s.
    session_timeout: seconds after which a member of a group that is gone loses its partitions; by default the least
        that Kafka's brokers allow by default. Closing one while no broker answers takes as long.
    max_poll_interval: seconds without `poll` after which a member counts as gone.
    max_record_bytes: limit of key and value together. Above 1,000,000 it becomes `max.message.bytes` of created topics.

    Needs no broker to be made; its producers and consumers go on by themselves when a broker comes back.
    Raises ValueError for a wrong URL or a setting that librdkafka does not know.
    """

    def __init__(
        self,
        url: str,
        config: Mapping[str, Any] | None = None,
        *,
        replication_factor: int | None = None,
        min_insync_replicas: int | None = None,
        request_timeout: float = 10.0,
        session_timeout: float = 6.0,
        max_poll_interval: float = 300.0,
        max_record_bytes: int = _BROKER_MAX_RECORD,
    ) -> None:
        self.max_record_bytes = max_record_bytes
        self._servers, in_url = parse_address(url)
        given = {**from_environment(), **in_url, **(config or {})}
        given.setdefault("bootstrap.servers", self._servers)
        self._servers = str(given["bootstrap.servers"])
        self._given = given
        self._replication_factor = replication_factor
        self._min_insync_replicas = min_insync_replicas
        self._request_timeout = request_timeout
        self._group = {
            "session.timeout.ms": round(session_timeout * 1000),
            "heartbeat.interval.ms": min(1_000, round(session_timeout * 1000 / 4)),  # members learn of a change by it
            "max.poll.interval.ms": round(max(max_poll_interval, session_timeout) * 1000),
        }
        self._met = _Met()
        try:
            settings: dict[str, Any] = {**COMMON, **given, "error_cb": self._met.note}
            self._admin: AdminClient | None = AdminClient(settings, logger=rdkafka_logger())
        except KafkaException as e:
            raise wrong_setting(e) from e
        self._producers: WeakSet[KafkaProducer] = WeakSet()
        self._listed: dict[str, float] = {}  # when topics were, by the monotonic clock

    # ------------------------------------------------------------ topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        existing = self._metadata("create topics")
        missing = {spec.name: spec for spec in specs if spec.name not in existing.topics}
        if not missing:
            return
        brokers = _brokers_of(existing)
        futures = self._client().create_topics(
            [self._new_topic(spec, brokers) for spec in missing.values()], request_timeout=self._request_timeout
        )
        for name, future in futures.items():
            problem = kafka_problem(future)
            if problem is not None and problem.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(problem, f"create topic {name!r}", self._servers)
        self._wait_for_leaders(set(missing))

    def _new_topic(self, spec: TopicSpec, brokers: int) -> NewTopic:
        replicas, in_sync = replication(brokers, self._replication_factor, self._min_insync_replicas)
        settings = {
            "message.timestamp.type": "LogAppendTime",
            "cleanup.policy": "delete",
            "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
            "min.insync.replicas": str(in_sync),
        }
        if spec.retention_ms is None:
            settings["retention.bytes"] = "-1"
        if self.max_record_bytes > _BROKER_MAX_RECORD:
            settings["max.message.bytes"] = str(self.max_record_bytes + _BATCH_OVERHEAD)
        return NewTopic(spec.name, spec.partitions, replicas, config=settings)

    def _wait_for_leaders(self, names: set[str]) -> None:
        """A topic that was made is known to all brokers a moment later."""
        deadline = time.monotonic() + self._request_timeout
        pause = threading.Event()
        while True:
            topics = self._metadata("create topics").topics
            ready = all(
                name in topics
                and topics[name].partitions
                and all(p.leader >= 0 for p in topics[name].partitions.values())
                for name in names
            )
            if ready:
                return
            if time.monotonic() > deadline:
                raise not_now(f"create topics {sorted(names)}", self._servers, "no leaders for their partitions yet")
            pause.wait(0.02)

    def partitions(self, topic: str) -> int:
        found = self._metadata(f"look for topic {topic!r}").topics.get(topic)
        return len(found.partitions) if found is not None else 0

    def topics(self, prefix: str) -> list[str]:
        return sorted(name for name in self._metadata("list topics").topics if name.startswith(prefix))

    def _metadata(self, what: str) -> ClusterMetadata:
        self._met.refusal = None
        try:
            listed = self._client().list_topics(timeout=self._request_timeout)
        except KafkaException as e:
            self._client().poll(0)  # notes all that was met meanwhile
            raise translate(self._met.refusal or kafka_error(e), what, self._servers) from e
        self._listed = dict.fromkeys(listed.topics, time.monotonic())
        return listed

    # ------------------------------------------------------------ offsets

    def offsets(self, partition: TopicPartition) -> tuple[int, int]:
        answer = self._ask_for([(partition, "first"), (partition, "end")])
        return answer[partition, "first"], answer[partition, "end"]

    def end_offsets(
        self,
        partitions: Iterable[TopicPartition],
        on_result: Callable[[dict[TopicPartition, int], LogError | None], None],
    ) -> None:
        wanted: list[Wanted] = [(partition, "end") for partition in partitions]
        self._client()

        def ask() -> None:
            try:
                answer = self._ask_for(wanted)
            except LogError as error:
                on_result({}, error)
            else:
                on_result({partition: end for (partition, _), end in answer.items()}, None)

        if wanted:
            threading.Thread(target=ask, name="odradek-kafka-offsets", daemon=True).start()
        else:
            on_result({}, None)

    def _ask_for(self, wanted: list[Wanted]) -> Mapping[Wanted, int]:
        topics = {where.topic for where, _ in wanted}
        oldest = min(self._listed.get(topic, -_LEADERS_KNOWN_S) for topic in topics)
        known = time.monotonic() - oldest < _LEADERS_KNOWN_S
        answer = OffsetListing(self._client(), wanted, self._request_timeout, self._servers, known).answer()
        if not known:
            self._listed.update(dict.fromkeys(topics, time.monotonic()))
        return answer

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        if not offsets:
            return {}
        self._metadata("delete records")  # as librdkafka should know the leaders: see `OffsetListing`
        futures = self._client().delete_records(
            [Position(*partition, offset) for partition, offset in offsets.items()],
            request_timeout=self._request_timeout, operation_timeout=self._request_timeout,
        )  # fmt: skip
        left = {}
        for position, future in futures.items():
            problem = kafka_problem(future)
            if problem is not None:
                what = f"delete records of {position.topic}/{position.partition}"
                raise translate(problem, what, self._servers)
            left[TopicPartition(position.topic, position.partition)] = future.result().low_watermark
        return left

    # ------------------------------------------------------------ sessions

    def producer(self, linger_ms: float = 0.0) -> KafkaProducer:
        own = {"message.max.bytes": self.max_record_bytes + _BATCH_OVERHEAD, "linger.ms": linger_ms}
        config = {**COMMON, **PRODUCER, **own, **self._given}
        self._client()
        producer = KafkaProducer(config, self._servers, self.max_record_bytes)
        self._producers.add(producer)
        return producer

    def consumer(self) -> KafkaConsumer:
        largest = int(self._given.get("message.max.bytes", self.max_record_bytes + _BATCH_OVERHEAD))
        own = {"fetch.max.bytes": max(CONSUMER["fetch.max.bytes"], largest)}  # librdkafka wants room for a record
        config = {**COMMON, **CONSUMER, **self._group, **own, **self._given}
        self._client()
        return KafkaConsumer(config, self._servers)

    def close(self) -> None:
        """End the producers that are still open; consumers are closed by those who poll them."""
        for producer in list(self._producers):
            producer.close()
        self._admin = None

    def _client(self) -> AdminClient:
        if self._admin is None:
            raise LogError("the log is closed: open it again")
        return self._admin


class _Met:
    """What connections meet: a broker that does not let us in looks to a request like one that does not answer.

    The client holds this alone, and not the log: nobody else keeps the two alive, whose last user ends them.
    """

    def __init__(self) -> None:
        self.refusal: KafkaError | None = None

    def note(self, error: KafkaError) -> None:
        if is_refusal(error):
            self.refusal = error


def _brokers_of(metadata: ClusterMetadata) -> int:
    """How many brokers the cluster has, those counted that are away now: as many as the copies of any topic."""
    partitions = [p for topic in metadata.topics.values() for p in topic.partitions.values()]
    return max([len(metadata.brokers), *(len(p.replicas) for p in partitions)])
