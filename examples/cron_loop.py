"""A cron-like loop: a report at the full hour, for ever, from a workflow that sleeps in between.

python examples/cron_loop.py      "hours" of a fifth of a second, five reports
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from odradek import Client, Worker, activity, workflow

TASK_QUEUE = "reports"


@dataclass(frozen=True)
class Rounds:
    """every: the beat, counted from midnight of 1970, so that an hour's beat is the full hour. left: None is for ever.
    per_run: after so many, a new run begins with an empty history."""

    every: timedelta = timedelta(hours=1)
    left: int | None = None
    done: int = 0
    per_run: int = 100


@activity.define(start_to_close_timeout=timedelta(minutes=10))
async def write_report(number: int, at: datetime) -> None:
    print(f"report {number}", flush=True)


def next_beat(now: datetime, every: timedelta) -> datetime:
    """The first beat after `now`."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + ((now - epoch) // every + 1) * every


@workflow.define
class Reports:
    def __init__(self) -> None:
        self.wanted_now = False
        self.next_at: datetime | None = None

    async def run(self, rounds: Rounds) -> int:
        """How many reports were written. A beat that passes while a report is written is left out."""
        for _ in range(rounds.per_run):
            await self.next_round(rounds.every)
            rounds = replace(rounds, done=rounds.done + 1, left=None if rounds.left is None else rounds.left - 1)
            await write_report(rounds.done, workflow.now())
            if rounds.left == 0:
                return rounds.done
        return workflow.continue_as_new(Reports, rounds)

    async def next_round(self, every: timedelta) -> None:
        """Sleep until the next beat, or until somebody wants a report now."""
        self.next_at = next_beat(workflow.now(), every)
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self.wanted_now, timeout=self.next_at - workflow.now())
        self.wanted_now = False

    @workflow.signal
    def report_now(self) -> None:
        self.wanted_now = True

    @workflow.query
    def next_report(self) -> datetime | None:
        return self.next_at


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Reports], activities=[write_report]),
    ):
        rounds = Rounds(every=timedelta(seconds=0.2), left=5, per_run=2)
        reports = await client.start(Reports, rounds, id="reports", task_queue=TASK_QUEUE)
        print(f"{await reports.result()} reports")


if __name__ == "__main__":
    asyncio.run(main())
