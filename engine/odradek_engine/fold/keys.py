"""Keys of the state's rows: bytes whose order is the order in which rows are scanned.

The first byte is the table. Texts end in a zero byte (IDs that contain one are refused), numbers are
big endian.
"""

from __future__ import annotations

from functools import lru_cache

PARTITION = b"p"
SESSION, HELD, CURRENT, EARLIER = b"s", b"h", b"w", b"o"
ACTIVITY, TIMER, EVENT, UPDATE = b"a", b"t", b"e", b"g"
REQUEST, EXPIRY, DUE, OUT = b"r", b"x", b"d", b"i"
CHILD, EXTERNAL = b"k", b"y"
OUTBOX, TAIL, SOURCE, WAITING = b"q", b"n", b"m", b"u"
RESET, BEHIND = b"j", b"l"
PIECE = b"f"
CURRENT_BUILD, NEEDED, NEEDED_COUNT = b"v", b"b", b"c"


def number(value: int) -> bytes:
    """Eight bytes that sort as the number does; from -1 on."""
    return (value + 1).to_bytes(8, "big")


def number_in(key: bytes) -> int:
    """The number right behind a key's table."""
    return int.from_bytes(key[1:9], "big") - 1


@lru_cache(maxsize=4096)
def text(value: str) -> bytes:
    return value.encode() + b"\0"


def session(session_id: str) -> bytes:
    return SESSION + text(session_id)


@lru_cache(maxsize=4096)
def current(workflow_id: str) -> bytes:
    """The row of a workflow ID's newest run."""
    return CURRENT + text(workflow_id)


def earlier(workflow_id: str, run_id: str) -> bytes:
    """The row of an earlier run."""
    return EARLIER + text(workflow_id) + text(run_id)


def of_run(table: bytes, workflow_id: str, run_id: str) -> bytes:
    """What the keys of a run's activities, timers or events start with."""
    return table + _run(workflow_id, run_id)


@lru_cache(maxsize=4096)
def _run(workflow_id: str, run_id: str) -> bytes:
    return text(workflow_id) + text(run_id)


def activity(workflow_id: str, run_id: str, seq: int) -> bytes:
    return ACTIVITY + _run(workflow_id, run_id) + (seq + 1).to_bytes(8, "big")


def timer(workflow_id: str, run_id: str, seq: int) -> bytes:
    return of_run(TIMER, workflow_id, run_id) + number(seq)


def child(workflow_id: str, run_id: str, seq: int) -> bytes:
    return of_run(CHILD, workflow_id, run_id) + number(seq)


def external(workflow_id: str, run_id: str, seq: int) -> bytes:
    return of_run(EXTERNAL, workflow_id, run_id) + number(seq)


def event(workflow_id: str, run_id: str, event_id: int) -> bytes:
    return EVENT + _run(workflow_id, run_id) + (event_id + 1).to_bytes(8, "big")


def update(workflow_id: str, run_id: str, seq: int) -> bytes:
    return of_run(UPDATE, workflow_id, run_id) + number(seq)


def piece(workflow_id: str, run_id: str, completion_id: str, index: int) -> bytes:
    return of_run(PIECE, workflow_id, run_id) + text(completion_id) + number(index)


def request(workflow_id: str, request_id: str) -> bytes:
    return REQUEST + text(workflow_id) + text(request_id)


def expiry(at_ms: int, key: bytes) -> bytes:
    """An entry of the expiry index: the row `key` may go after `at_ms`."""
    return EXPIRY + (at_ms + 1).to_bytes(8, "big") + key


def due(at_ms: int, kind: bytes, key: bytes) -> bytes:
    """An entry of the due index: `kind` happens to the row `key` at `at_ms`."""
    return DUE + (at_ms + 1).to_bytes(8, "big") + kind + key


def out(since_ms: int, key: bytes) -> bytes:
    """An entry of the index of tasks that are out: the row `key` waits for an answer since `since_ms`."""
    return OUT + (since_ms + 1).to_bytes(8, "big") + key


def held(session_id: str, key: bytes) -> bytes:
    """An entry of the index of what a session runs."""
    return HELD + text(session_id) + key


def current_build(task_queue: str) -> bytes:
    """The row of what is current on a task queue."""
    return CURRENT_BUILD + text(task_queue)


def needed(task_queue: str, build_id: str, key: bytes = b"") -> bytes:
    """An entry of the index of what needs workers of a build: the open run `key` does."""
    return NEEDED + text(task_queue) + text(build_id) + key


def reset(workflow_id: str) -> bytes:
    """The row of a workflow's reset that is not finished."""
    return RESET + text(workflow_id)


def all_behind(workflow_id: str) -> bytes:
    """What the keys of records start with that wait for the end of a workflow's reset."""
    return BEHIND + text(workflow_id)


def behind(workflow_id: str, offset: int) -> bytes:
    return all_behind(workflow_id) + number(offset)


def needed_count(entry: bytes) -> bytes:
    """The row that counts the entries of the index `NEEDED` for the task queue and build of this one."""
    return NEEDED_COUNT + entry[1 : entry.index(b"\0", entry.index(b"\0") + 1) + 1]


def outbox(offset: int, index: int) -> bytes:
    return OUTBOX + (offset + 1).to_bytes(8, "big") + (index + 1).to_bytes(8, "big")


@lru_cache(maxsize=4096)
def tail(topic: str, partition: int) -> bytes:
    return TAIL + text(topic) + number(partition)


def source(partition: int) -> bytes:
    return SOURCE + number(partition)


def waiting(offset: int) -> bytes:
    return WAITING + number(offset)


def after(prefix: bytes) -> bytes:
    """The first key above all that start with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix[-1] < 255 else after(prefix[:-1])


LARGE = 16_384
"""A record of so many bytes may have names of as many, which no row has; but they were looked for."""


def forget() -> None:
    """Forget what was remembered of keys: it is counted by entries, and few entries may be large."""
    for remembered in (text, current, _run, tail):
        remembered.cache_clear()
