"""What production code takes for the machine: `threading`, `time`, `secrets`, queues; here they belong to the hub.

`installed(hub)` puts them in place of the real ones in every module of Odradek, so that the production classes run as
they are. Their only other ways out are the log and the disk, which are given to them.
"""

from __future__ import annotations

import os
import queue
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from random import Random
from types import FunctionType, ModuleType
from typing import Any

from odradek._source_guard import check_source
from odradek_engine import CheckpointStore
from odradek_schemas import decode

from .hub import Hub, SimThread

PACKAGES = ("odradek", "odradek_engine", "odradek_log", "odradek_schemas")


class Lock:
    """`threading.Lock`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._owner: Any = None
        self._depth = 0
        self._waiters: deque[SimThread] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = self._hub.current or "outside"
        if self._owner is None or self._takes_again(me):
            self._owner = me
            self._depth += 1
            return True
        if not blocking:
            return False
        if not isinstance(me, SimThread):
            raise AssertionError("a lock is held by a thread, and wanted by what cannot wait for it")
        until = None if timeout < 0 else self._hub.now + timeout
        while self._owner is not None:
            if until is not None and self._hub.now >= until:
                return False
            self._waiters.append(me)
            self._hub.block(None if until is None else until - self._hub.now)
            if me in self._waiters:
                self._waiters.remove(me)
        self._owner, self._depth = me, 1
        return True

    def _takes_again(self, me: Any) -> bool:
        return False

    def release(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            if self._waiters:
                self._hub.wake(self._waiters[0])

    def locked(self) -> bool:
        return self._owner is not None

    def __enter__(self) -> bool:
        if self._owner is None:
            self._owner, self._depth = self._hub.current or "outside", 1
            return True
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock(Lock):
    """`threading.RLock`."""

    def _takes_again(self, me: Any) -> bool:
        return self._owner is me


class Condition:
    """`threading.Condition`."""

    def __init__(self, hub: Hub, lock: Lock | None = None) -> None:
        self._hub = hub
        self._lock = lock or RLock(hub)
        self._waiters: deque[SimThread] = deque()
        self.acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        me = self._hub.current
        assert me is not None
        self._waiters.append(me)
        depth, self._lock._depth = self._lock._depth, 1
        self._lock.release()
        try:
            notified = self._hub.block(timeout)
        finally:
            if me in self._waiters:
                self._waiters.remove(me)
        self._lock.acquire()
        self._lock._depth = depth
        return notified

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        until = None if timeout is None else self._hub.now + timeout
        while not (result := predicate()):
            left = None if until is None else until - self._hub.now
            if left is not None and left <= 0:
                return result
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        for _ in range(min(n, len(self._waiters))):
            self._hub.wake(self._waiters.popleft())

    def notify_all(self) -> None:
        self.notify(len(self._waiters))


class Event:
    """`threading.Event`."""

    def __init__(self, hub: Hub) -> None:
        self._set = False
        self._condition = Condition(hub)

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        with self._condition:
            self._set = True
            self._condition.notify_all()

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        with self._condition:
            self._condition.wait_for(lambda: self._set, timeout)
        return self._set


class SimpleQueue:
    """`queue.SimpleQueue`."""

    def __init__(self, hub: Hub) -> None:
        self._items: deque[Any] = deque()
        self._hub = hub
        self._waiters: deque[SimThread] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._items.append(item)
        if self._waiters:
            self._hub.wake(self._waiters.popleft())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        until = None if timeout is None else self._hub.now + timeout
        while not self._items:
            left = None if until is None else until - self._hub.now
            if not block or (left is not None and left <= 0):
                raise queue.Empty
            me = self._hub.current
            assert me is not None
            self._waiters.append(me)
            self._hub.block(left)
            if me in self._waiters:
                self._waiters.remove(me)
        return self._items.popleft()

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items


class Thread:
    """`threading.Thread`, of the process that makes it."""

    def __init__(
        self,
        hub: Hub,
        target: Callable[..., None],
        name: str = "thread",
        args: tuple[Any, ...] = (),
        daemon: bool = True,
    ) -> None:
        self.name = name
        self._hub = hub
        self._run = lambda: target(*args)
        self.sim: SimThread | None = None

    def start(self) -> None:
        current = self._hub.current
        assert current is not None, "a thread begins another"
        self.sim = current.process.spawn(self.name, self._run)

    def is_alive(self) -> bool:
        return self.sim is not None and not self.sim.ended

    def join(self, timeout: float | None = None) -> None:
        until = None if timeout is None else self._hub.now + timeout
        while self.sim is not None and not self.sim.ended:
            left = None if until is None else until - self._hub.now
            if left is not None and left <= 0:
                return
            if self._hub.current is not None:
                self.sim.waiters.append(self._hub.current)
            self._hub.block(left)


class _Threading:
    """The module `threading`."""

    local = threading.local

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def Lock(self) -> Lock:
        return Lock(self._hub)

    def RLock(self) -> RLock:
        return RLock(self._hub)

    def Condition(self, lock: Lock | None = None) -> Condition:
        return Condition(self._hub, lock)

    def Event(self) -> Event:
        return Event(self._hub)

    def Thread(self, target: Callable[..., None], **options: Any) -> Thread:
        return Thread(self._hub, target, **options)

    def get_ident(self) -> int:
        return self._hub.current.number if self._hub.current is not None else 0

    def current_thread(self) -> Any:
        return self._hub.current


class _Time:
    """The module `time`: each process has a wall clock, which may be off."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def monotonic(self) -> float:
        self._hub.call()
        return self._hub.now

    perf_counter = monotonic

    def time_ns(self) -> int:
        self._hub.call()
        current = self._hub.current
        skew = current.process.skew_ms if current is not None else 0
        return (self._hub.now_ms + skew) * 1_000_000

    def time(self) -> float:
        return self.time_ns() / 1e9

    def sleep(self, seconds: float) -> None:
        until = self._hub.now + seconds
        while self._hub.now < until:
            self._hub.block(until - self._hub.now)


class _Os:
    """The module `os`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def urandom(self, size: int) -> bytes:
        self._hub.call()
        return self._hub.tokens.randbytes(size)

    def __getattr__(self, name: str) -> Any:
        self._hub.call()
        return getattr(os, name)


class _Secrets:
    """The module `secrets`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def token_hex(self, size: int = 32) -> str:
        return f"{self._hub.tokens.getrandbits(8 * size):0{2 * size}x}"

    def token_bytes(self, size: int = 32) -> bytes:
        return self._hub.tokens.randbytes(size)

    def SystemRandom(self) -> Random:
        return Random(self._hub.tokens.getrandbits(64))


decoded = lru_cache(20_000)(decode)
_REMEMBERED: dict[Any, Any] = {check_source: cache(check_source), decode: decoded}
"""What all processes of all clusters ask for again and again, and what is the same each time."""


def modules() -> list[ModuleType]:
    """The modules of Odradek that are loaded."""
    return [m for name, m in sorted(sys.modules.items()) if name.partition(".")[0] in PACKAGES]


@contextmanager
def installed(hub: Hub) -> Iterator[None]:
    """Odradek's modules see the hub where they look for the machine."""
    clock = _Time(hub)
    reach = CheckpointStore._told

    def reached(store: CheckpointStore, what: str) -> Any:
        """Each access to kept checkpoints."""
        hub.call()
        return reach(store, what)

    instead: dict[Any, Any] = {
        threading: _Threading(hub),
        time: clock,
        secrets: _Secrets(hub),
        os: _Os(hub),
        time.monotonic: clock.monotonic,
        queue.SimpleQueue: lambda: SimpleQueue(hub),
        reach: reached,
        **_REMEMBERED,
    }
    places = [place for module in modules() for place in _places_in(module)]
    places.append((CheckpointStore, "_told", reach))
    try:
        for owner, name, real in places:
            setattr(owner, name, _other(real, instead))
        yield
    finally:
        for owner, name, real in places:
            setattr(owner, name, real)


def _other(real: Any, instead: dict[Any, Any]) -> Any:
    """What is put there: default arguments come as those of a function."""
    if isinstance(real, tuple):
        return tuple(_one(value, instead) for value in real)
    if isinstance(real, dict):
        return {name: _one(value, instead) for name, value in real.items()}
    return instead[real]


def _one(value: Any, instead: dict[Any, Any]) -> Any:
    return next((other for real, other in instead.items() if value is real), value)


_REAL = [threading, time, secrets, os, time.monotonic, queue.SimpleQueue, *_REMEMBERED]


def _is_real(value: Any) -> bool:
    return any(value is real for real in _REAL)


@cache
def _places_in(module: ModuleType) -> list[tuple[Any, str, Any]]:
    """Where a module has the machine: the owner of an attribute, its name, and its value."""
    places: list[tuple[Any, str, Any]] = []
    for name, value in vars(module).items():
        if _is_real(value):
            places.append((module, name, value))
        if isinstance(value, type) and value.__module__ == module.__name__:
            for function in vars(value).values():
                if isinstance(function, FunctionType):
                    places += _defaults_of(function)
    return places


def _defaults_of(function: FunctionType) -> Iterator[tuple[Any, str, Any]]:
    """Default arguments such as `clock=time.monotonic`."""
    if any(map(_is_real, function.__defaults__ or ())):
        yield function, "__defaults__", function.__defaults__
    if any(map(_is_real, (function.__kwdefaults__ or {}).values())):
        yield function, "__kwdefaults__", function.__kwdefaults__
