"""The Faust application that keeps the counts of `history` in a RocksDB table. Imported only to run it.

Faust delivers at least once, writes a table before its changelog is acknowledged, and commits offsets on
their own schedule. So none are committed (`acks=False`): a row of the table holds the offset at which reading goes
on, and wherever Faust would seek to a committed offset, this seeks to that one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
from faust.transport.drivers import aiokafka
from odradek_schemas import Topics

from .counts import PartitionCounts, decode_row, encode_row
from .kafka_settings import FaustSettings
from .names import TABLE, application_id, row_key

logger = logging.getLogger(__name__)

_ROCKSDB_OPTIONS = {
    # one small database a partition; Faust's defaults are for large ones
    "write_buffer_size": 4 * 2**20,
    "block_cache_size": 8 * 2**20,
    "max_open_files": 64,
}
_CHANGELOG_CONFIG = {
    # the table is small and its rows change all the time: compact early, so that it is read quickly
    "segment.bytes": str(16 * 2**20),
    "min.cleanable.dirty.ratio": "0.1",
}


class Counter:
    """The application, its table and its agent. `on_ready` is called whenever the partitions have settled."""

    def __init__(
        self,
        settings: FaustSettings,
        topics: Topics,
        folder: Path,
        partitions: int,
        session_timeout: float,
        on_ready: Callable[[], None],
    ) -> None:
        self._on_ready = on_ready
        self._rows: dict[int, PartitionCounts] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.history = topics.history
        self.app = faust.App(
            application_id(topics),
            broker=settings.broker,
            broker_credentials=settings.credentials(),
            store="rocksdb://",
            datadir=str(folder),
            topic_partitions=partitions,
            topic_replication_factor=settings.replicas,
            topic_disable_leader=True,
            table_standby_replicas=0,
            web_enabled=False,
            broker_session_timeout=session_timeout,
            broker_heartbeat_interval=session_timeout / 4,
            consumer_auto_offset_reset="earliest",
        )
        self.app.finalize()
        transport = _Transport(self.app.conf.broker_consumer, self.app)
        transport.position_of = self._position_of
        self.app.transport = transport
        self._table = self.app.Table(
            TABLE,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            options=dict(_ROCKSDB_OPTIONS),
            extra_topic_configs={**_CHANGELOG_CONFIG, "min.insync.replicas": str(settings.in_sync)},
        )
        self._table.on_recover(self._recovered)
        topic = self.app.topic(
            topics.history, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False
        )
        self.app.agent(topic, name="count")(self._count)

    async def _recovered(self) -> None:
        """Partitions came or went, and the table is what its changelog says."""
        self._rows.clear()
        self._on_ready()

    def _position_of(self, tp: Any) -> int | None:
        """Where reading goes on; None for a partition that the table does not follow."""
        return self._row(tp.partition).next_offset if tp.topic == self.history else None

    def _row(self, partition: int) -> PartitionCounts:
        row = self._rows.get(partition)
        if row is None:
            stored = self._table.get(row_key(partition))
            row = self._rows[partition] = PartitionCounts() if stored is None else decode_row(stored)
        return row

    async def _count(self, stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            row = self._row(message.partition)
            if message.offset < row.next_offset:
                continue  # fetched before a seek, and counted
            if message.offset > row.next_offset and not await self._is_cut(message.tp, message.offset, row):
                continue
            row.read(message.offset, event.value)
            self._table[row_key(message.partition)] = encode_row(row)

    async def _is_cut(self, tp: Any, offset: int, row: PartitionCounts) -> bool:
        """Whether the records before `offset` are gone from the topic. If not, they are read again."""
        earliest = (await self.app.consumer.earliest_offsets(tp))[tp]
        if offset != earliest:
            await self.app.consumer.seek_wait({tp: max(row.next_offset, earliest)})
            return False
        logger.warning(
            "partition %s of %s: offsets %s to %s were deleted before they were counted",
            tp.partition, tp.topic, row.next_offset, offset - 1,
        )  # fmt: skip
        row.begin_at(offset)
        return True


class _Consumer(aiokafka.Consumer):
    """Faust's consumer, with positions from the table."""

    async def seek_to_committed(self) -> Mapping[Any, int]:
        """Seek each followed partition to where its row ends; return those offsets."""
        transport = cast(_Transport, self.transport)
        offsets = {tp: at for tp in self.assignment() if (at := transport.position_of(tp)) is not None}
        if offsets:
            await self.seek_wait(offsets)
        return offsets


class _Transport(aiokafka.Transport):
    Consumer = _Consumer
    position_of: Callable[[Any], int | None]
