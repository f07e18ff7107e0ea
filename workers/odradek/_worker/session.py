"""A worker session: one life of a worker as the engine sees it (rules T5, T6).

A session is announced on a partition of `events` before the first record there that needs it, and
heartbeats keep it alive. A session that was ended is never taken up again: a worker that lives begins a new one.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from odradek_log.protocol import LogError, Producer
from odradek_schemas import Topics, encode
from odradek_schemas.ephemeral import WorkerHeartbeat
from odradek_schemas.records import WorkerAlive, WorkerStopped

logger = logging.getLogger("odradek.worker")

HEARTBEAT_PARTS = 8
"""All partitions hear of the session in so many parts of an interval, each its share: a workflow whose next step is to
be appended waits for one or two of them, not for a heartbeat of each partition."""

_MAX_HEARTBEATS_OUT = 5
"""Of one partition: a log that is away must not find hours of them when it is back."""


class WorkerSession:
    """The current session of one worker. Safe from any thread.

    `room` gives how many more activities could begin, and the activity partitions that the worker has.
    `new_id` gives IDs that are unique for ever. All of a worker's appends go through `producer`, so that on
    each partition the announcement comes before what needs it. `build_id`: of the worker's code, "" for none;
    `versioning`: what its completions make of a run (pinned, auto_upgrade).
    """

    def __init__(
        self,
        producer: Producer,
        topics: Topics,
        partitions: int,
        *,
        new_id: Callable[[], str],
        client_id: str = "",
        reply_partition: int = -1,
        identity: str = "",
        lost_after: float = 8.0,
        workflow_queues: Sequence[str] = (),
        activity_queues: Sequence[str] = (),
        room: Callable[[], tuple[int, list[int]]] = lambda: (0, []),
        build_id: str = "",
        versioning: str = "",
    ) -> None:
        self._producer = producer
        self._topics = topics
        self._partitions = partitions
        self._new_id = new_id
        self._client_id = client_id
        self._reply_partition = reply_partition
        self._identity = identity
        self._lost_after = lost_after
        self._workflow_queues = list(workflow_queues)
        self._activity_queues = list(activity_queues)
        self._room = room
        self.build_id = build_id
        self.versioning = versioning if build_id else ""
        self._lock = threading.RLock()
        self._announced: set[int] = set()
        self._refused: deque[tuple[str, int]] = deque()  # announcements that the log did not take
        self._counting = threading.Lock()
        self._beats_out = [0] * partitions
        self._counter = itertools.count(1)
        self._part = -1  # of the partitions, to which the next heartbeat goes; -1: all, as none has heard of us
        self._stopped = False
        self.id = new_id()

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats to one partition."""
        return min(self._lost_after / 4, 2.0)

    def completion_id(self) -> str:
        """An ID for a completed workflow task, unique for ever: the session and a counter that never starts again."""
        return f"{self.id}-{next(self._counter)}"

    def announce(self, partition: int, again: bool = False) -> str:
        """Make sure that this partition of `events` knows the session; return its ID. `again`: it may not, although we
        have told it: the log may have lost that."""
        with self._lock:
            if again:
                self._announced.discard(partition)
            while self._refused:  # the next record that needs it announces it again
                session, unheard = self._refused.popleft()
                if session == self.id:
                    self._announced.discard(unheard)
            if partition not in self._announced and not self._stopped:
                self._send(partition, WorkerAlive(
                    session=self.id, identity=self._identity, client_id=self._client_id,
                    reply_partition=self._reply_partition, build_id=self.build_id,
                ))
                self._announced.add(partition)
            return self.id

    def ended(self, session: str) -> bool:
        """The engine has ended `session`: if it is the current one, begin another, and return True."""
        with self._lock:
            if session != self.id or self._stopped:
                return False
            self.id = self._new_id()
            self._announced.clear()
        logger.warning(
            "worker session %s was declared lost (no heartbeat for a while: paused, or cut off?); going on as %s",
            session, self.id,
        )
        self.heartbeat()
        return True

    def heartbeat(self) -> None:
        """Tell the leaders of all partitions that the session lives, and what it polls."""
        self._live_on(range(self._partitions))

    def heartbeat_in_turn(self) -> None:
        """Tell it to the next of them: to be called `HEARTBEAT_PARTS` times in each interval. The first time to all."""
        part, self._part = self._part, (self._part + 1) % HEARTBEAT_PARTS
        self._live_on(range(self._partitions) if part < 0 else range(part, self._partitions, HEARTBEAT_PARTS))

    def _live_on(self, partitions: Iterable[int]) -> None:
        free, held = self._room()
        with self._lock:
            if not self._stopped:
                self._beat(partitions, WorkerHeartbeat(
                    session=self.id, workflow_queues=self._workflow_queues, activity_queues=self._activity_queues,
                    client_id=self._client_id, lost_after_ms=round(self._lost_after * 1000),
                    free_activities=max(0, free), activity_partitions=held, build_id=self.build_id,
                ))

    def _beat(self, partitions: Iterable[int], heartbeat: WorkerHeartbeat) -> None:
        key, value = self.id.encode(), encode(heartbeat)
        for partition in partitions:
            with self._counting:
                room = heartbeat.leaving or self._beats_out[partition] < _MAX_HEARTBEATS_OUT
                self._beats_out[partition] += room
            if room:
                self._producer.send(self._topics.ephemeral, partition, key, value, partial(self._beaten, partition))

    def _beaten(self, partition: int, offset: int, error: LogError | None) -> None:
        with self._counting:
            self._beats_out[partition] -= 1
        if error is not None:
            logger.error("a heartbeat was not appended: %s", error)

    def stop(self) -> None:
        """End the session gracefully: what it still holds goes to others at once, and nobody counts on it any more."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            for partition in sorted(self._announced):
                self._send(partition, WorkerStopped(session=self.id))
            self._beat(range(self._partitions), WorkerHeartbeat(
                session=self.id, client_id=self._client_id, build_id=self.build_id, leaving=True,
            ))

    def _send(self, partition: int, record: WorkerAlive | WorkerStopped) -> None:
        def on_delivery(offset: int, error: LogError | None) -> None:
            if error is not None:
                logger.error("%s on partition %d was not appended: %s", type(record).__name__, partition, error)
                self._refused.append((record.session, partition))  # no lock: its holder may wait for room in the log

        self._producer.send(self._topics.events, partition, self.id.encode(), encode(record), on_delivery)
