"""The parts that records of every topic share: payloads, failures, positions, requests, retry policies."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of everything that is written to a topic, and of its parts.

    Instances are immutable; `msgspec.structs.replace` makes a changed copy. Field order and types are
    the Avro schema (see `avro.py`); a new field needs a default, so that older records still read.
    Names that end in `_ms` are milliseconds: a point in time since the Unix epoch, or a duration.
    """


class Payload(Record, frozen=True):
    """One value of the user's: bytes, and what is needed to read them (`encoding` at least)."""

    metadata: dict[str, bytes] = {}
    data: bytes = b""


class Failure(Record, frozen=True):
    """An error as data. `kind` says what it is an instance of; `cause` is the chain behind it.

    kind: application, activity, timeout, cancelled, terminated, child, bug, server.
    """

    message: str
    type: str = ""
    kind: str = "application"
    stack_trace: str = ""
    details: list[Payload] = []
    non_retryable: bool = False
    timeout_type: str = ""
    activity_type: str = ""
    attempt: int = 0
    encoded_attributes: Payload | None = None
    cause: Failure | None = None


class RetryPolicy(Record, frozen=True):
    """How failed attempts are repeated. 0 as `maximum_interval_ms`: 100 times the initial one; as
    `maximum_attempts`: without limit."""

    initial_interval_ms: int = 1000
    backoff_coefficient: float = 2.0
    maximum_interval_ms: int = 0
    maximum_attempts: int = 0
    non_retryable_error_types: list[str] = []


class Position(Record, frozen=True):
    """Where an effect comes from, and its predecessor in the chain of its source and output partition.

    An effect is the `index`-th made by the record at `offset` of partition `partition` of `events`.
    A chain begins with the predecessor (-1, 0).
    """

    partition: int
    offset: int
    index: int
    previous_offset: int = -1
    previous_index: int = 0


class Request(Record, frozen=True):
    """Who asks, and until when the answer matters.

    A repeated `request_id` gets the stored answer again. `deadline_ms` 0: no deadline.
    `reply_partition` -1: nobody waits for the answer.
    """

    request_id: str
    client_id: str = ""
    reply_partition: int = -1
    deadline_ms: int = 0


class Caller(Record, frozen=True):
    """The command of a workflow that a message to another workflow comes from: a run, and the command's number.

    `close_signal`, of a parent: its open run, whichever it is then, gets this signal when the child has ended.
    """

    workflow_id: str
    run_id: str
    seq: int
    close_signal: str = ""
