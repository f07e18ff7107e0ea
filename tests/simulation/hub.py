"""The scheduler of a simulated cluster: all threads of all processes take turns in one real thread, by a seed.

Every simulated thread is a greenlet. It gives up its turn where it blocks (a lock, a queue, a poll, a sleep) and, now
and then, where it touches the world (an append, a write to disk). Time passes only here. A process that crashes is
never given a turn again; a paused one waits for its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable
from random import Random

import greenlet

T0 = 1_700_000_000_000
"""The wall clock at the beginning, in ms since the Unix epoch."""

STEP_S = 0.002
"""A turn takes up to so long."""

Action = Callable[[], None]

_running_loop, _run_in_loop = asyncio._get_running_loop, asyncio._set_running_loop


class Stuck(AssertionError):
    """Nothing can happen any more, although somebody waits for something."""


class Process:
    """What dies at once: a set of threads with a clock. `skew_ms`: how far its wall clock is off."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub = hub
        self.name = name
        self.alive = True
        self.paused = False
        self.skew_ms = 0
        self.threads: list[SimThread] = []
        self.doom: tuple[int, Action] | None = None
        """What befalls it after so many more touches of the world."""
        self.failpoint: tuple[str, int, Action] | None = None
        """What befalls it at a moment of this kind (await, call), when so many more of them have passed."""
        self._deliveries: deque[Action] = deque()
        self._delivering: SimThread | None = None
        hub.processes.append(self)

    def stand_still(self, still: bool) -> None:
        """It is paused, or goes on."""
        if still != self.paused:
            self.paused = still
            self.hub.paused += 1 if still else -1

    def spawn(self, name: str, run: Action) -> SimThread:
        thread = SimThread(self, f"{self.name}/{name}", run)
        self.threads.append(thread)
        self.hub.wake(thread)
        return thread

    def deliver(self, callback: Action) -> None:
        """Run a callback of the log, in the thread that this process has for them."""
        if not self.alive:
            return
        self._deliveries.append(callback)
        if self._delivering is None or self._delivering.ended:
            self._delivering = self.spawn("deliveries", self._deliver_forever)
        else:
            self.hub.wake(self._delivering)

    def _deliver_forever(self) -> None:
        while True:
            while self._deliveries:
                self._deliveries.popleft()()
            self.hub.block()

    def touch(self, what: str) -> None:
        """This process is about to touch the world: what is planned for it may befall it here, before it does."""
        hub = self.hub
        if hub.current is None or hub.current.process is not self or not self.alive:
            return
        hub.note(what, self.name)
        if self.failpoint is not None and self.reaches("call"):
            hub.give_way()
            return
        if self.doom is not None:
            left, action = self.doom
            self.doom = (left - 1, action) if left > 0 else None
            if left <= 0:
                action()
                hub.give_way()
                return
        if hub.rng.random() < hub.preempt:
            hub.give_way()

    def call(self) -> None:
        """A thread of this process is about to ask something of the log, its disk, its files or its clock."""
        if self.failpoint is None or not self.alive:
            return
        current = self.hub.current
        if current is not None and current.process is self and self.reaches("call"):
            self.hub.give_way()

    def reaches(self, moment: str) -> bool:
        """A moment of this kind has come; whether it was the failpoint, whose action is done then."""
        if self.failpoint is None or self.failpoint[0] != moment:
            return False
        _, left, action = self.failpoint
        self.failpoint = (moment, left - 1, action) if left > 0 else None
        if left <= 0:
            action()
        return left <= 0


class SimThread:
    """One thread of a process."""

    def __init__(self, process: Process, name: str, run: Action) -> None:
        self.process = process
        self.name = name
        self.number = next(process.hub.numbers)
        self.ended = False
        self.ready = False
        self.woken = False
        self.wake_at: float | None = None
        self.waiters: list[SimThread] = []
        self.greenlet = greenlet.greenlet(self._run, process.hub.greenlet)
        self._target = run

    def _run(self) -> None:
        hub = self.process.hub
        try:
            self._target()
        except Exception as error:
            if self.process.alive:
                hub.errors.append(f"thread {self.name} ended by {type(error).__name__}: {error}")
        finally:
            self.ended = True
            if self.process.alive:
                for waiter in self.waiters:
                    hub.wake(waiter)


class Hub:
    """Everything that happens, one thing at a time. `now`: seconds since the beginning.

    preempt: how often a thread that touches the world lets others go first. errors: what no thread should have met.
    """

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"schedule-{seed}")
        self._random = self.rng.random
        self.paused = 0
        self.tokens = Random(f"tokens-{seed}")
        self.now = 0.0
        self.preempt = 0.1
        self.current: SimThread | None = None
        self.errors: list[str] = []
        self.turns = 0
        self.network_step: Callable[[], bool] = lambda: False
        self.happened: Counter[str] = Counter()
        self._noted: list[tuple[object, ...]] = []
        self._turned: list[str] = []
        self._ready: list[SimThread] = []
        self._sleeping: list[tuple[float, int, SimThread]] = []
        self._planned: list[tuple[float, int, Action]] = []
        self.numbers = itertools.count(1)
        self._counter = itertools.count()
        self.greenlet = greenlet.getcurrent()
        self.processes: list[Process] = []
        """All that there ever were: nothing that a dead one was made of may run again, or go, before the end."""
        self.endings: list[Action] = []
        """What there is to do at the end, when no thread is left."""

    # ------------------------------------------------------------ the trace

    def note(self, *what: object) -> None:
        """A line of the trace. `what` does not change any more."""
        self._noted.append((self.now, *what))

    def trace(self) -> list[str]:
        """Everything that was noted."""
        return [f"{at:.6f} " + " ".join(map(str, what)) for at, *what in self._noted]

    def digest(self) -> str:
        """A hash of everything that has happened."""
        return hashlib.blake2b("\n".join([*self.trace(), *self._turned]).encode(), digest_size=16).hexdigest()

    # ------------------------------------------------------------ time

    @property
    def now_ms(self) -> int:
        """The true wall clock; processes and brokers may be off."""
        return T0 + int(self.now * 1000)

    def at(self, when: float, action: Action) -> None:
        """Do something at a time, outside of all processes."""
        heapq.heappush(self._planned, (when, next(self._counter), action))

    # ------------------------------------------------------------ for threads

    def call(self) -> None:
        """See `Process.call`: of the running thread, if there is one."""
        if self.current is not None:
            self.current.process.call()

    def block(self, timeout: float | None = None) -> bool:
        """Wait to be woken, for at most `timeout` s; return whether it was. For the running thread only."""
        thread = self.current
        if thread is None:
            raise AssertionError("only a simulated thread can wait")
        if not thread.process.alive:
            raise greenlet.GreenletExit
        thread.woken = False
        if timeout is not None:
            thread.wake_at = self.now + max(0.0, timeout)
            heapq.heappush(self._sleeping, (thread.wake_at, next(self._counter), thread))
        self._switch()
        thread.wake_at = None
        return thread.woken

    def _switch(self) -> None:
        """Others have their turns; whichever event loop this thread is in, they are not."""
        running = _running_loop()
        if running is None:
            self.greenlet.switch()
            return
        _run_in_loop(None)
        self.greenlet.switch()
        _run_in_loop(running)

    def give_way(self) -> None:
        """Let others go first. Does not return in a process that has crashed."""
        thread = self.current
        if thread is None:
            return
        if thread.process.alive:
            self.wake(thread)
        self._switch()

    def wake(self, thread: SimThread) -> None:
        """Let a thread that waits go on."""
        thread.woken = True
        if not thread.ready and not thread.ended and thread.process.alive:
            thread.ready = True
            self._ready.append(thread)

    # ------------------------------------------------------------ turns

    def step(self) -> None:
        """One thing happens: a thread's turn, something in the network, or time passes."""
        random = self._random
        self.turns += 1
        now = self.now = self.now + random() * STEP_S
        if (self._sleeping and self._sleeping[0][0] <= now) or (self._planned and self._planned[0][0] <= now):
            self._wake_sleepers()
        choice = random()
        if choice < 0.45 and self.network_step():
            return
        ready = self._ready
        if self.paused:
            ready = [t for t in ready if not t.process.paused]
        if ready and choice < 0.995:
            thread = ready[int(random() * len(ready))]
            if thread.process.failpoint is None or not thread.process.reaches("await"):
                self._turn(thread)
        elif not self.network_step() and not (ready and self._pass()):
            self._jump()

    def _pass(self) -> bool:
        """Nobody gets anything done for a moment."""
        self.now += self.rng.random() * 0.2
        return True

    def _turn(self, thread: SimThread) -> None:
        self._ready.remove(thread)
        thread.ready = False
        self._turned.append(thread.name)
        self.current = thread
        try:
            thread.greenlet.switch()
        finally:
            self.current = None

    def _jump(self) -> None:
        """Nothing can happen now: go to the next moment at which something can."""
        while self._sleeping and not self._counts(self._sleeping[0]):
            heapq.heappop(self._sleeping)
        times = [entry[0] for entry in (self._sleeping[:1] + self._planned[:1])]  # type: ignore[operator]
        if not times:
            raise Stuck("nothing will ever happen again")
        self.now = max(self.now, min(times))
        self._wake_sleepers()

    @staticmethod
    def _counts(entry: tuple[float, int, SimThread]) -> bool:
        at, _, thread = entry
        return thread.wake_at == at and not thread.ready and not thread.ended and thread.process.alive

    def _wake_sleepers(self) -> None:
        while self._sleeping and self._sleeping[0][0] <= self.now:
            entry = heapq.heappop(self._sleeping)
            if self._counts(entry):
                thread = entry[2]
                self.wake(thread)
                thread.woken = False
        while self._planned and self._planned[0][0] <= self.now:
            heapq.heappop(self._planned)[2]()

    # ------------------------------------------------------------ the end of processes

    def kill(self, process: Process) -> None:
        """The process is gone: nothing of it may run again."""
        process.alive = False
        process.doom = process.failpoint = None
        process.stand_still(False)
        self._ready = [t for t in self._ready if t.process is not process]

    def close(self) -> None:
        """Give up everything. All greenlets end here: one that waits is never garbage, nor what it holds."""
        for process in self.processes:
            process.alive = False
        self._ready.clear()
        self._sleeping.clear()
        self._planned.clear()
        for process in self.processes:
            for thread in process.threads:
                while not thread.greenlet.dead and thread.greenlet:
                    self.current = thread
                    thread.greenlet.throw(greenlet.GreenletExit)
        self.current = None
        asyncio._set_running_loop(None)
        for end in self.endings:
            end()
