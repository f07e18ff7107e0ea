"""Approval by a person: ask, remind, escalate, and give up after two weeks. The answer is a signal.

python examples/approval.py      the manager answers; then one who does not, so that the director is asked
"""

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from odradek import Client, Worker, activity, workflow

TASK_QUEUE = "approvals"


@dataclass(frozen=True)
class Expense:
    what: str
    euros: int
    manager: str
    director: str


@dataclass(frozen=True)
class Patience:
    remind_after: timedelta = timedelta(days=1)
    reminders: int = 3
    """After so many, the director is asked, who has as long."""


@dataclass(frozen=True)
class Decision:
    approved: bool
    by: str
    why: str = ""


NOBODY = Decision(approved=False, by="nobody", why="nobody answered")


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def send_message(to: str, text: str) -> None:
    print(f"[{to}] {text}", flush=True)


@workflow.define
class Approval:
    def __init__(self) -> None:
        self.decision: Decision | None = None
        self.asked = ""

    async def run(self, expense: Expense, patience: Patience = Patience()) -> Decision:
        about = f"{expense.euros} euros for {expense.what}"
        for person in (expense.manager, expense.director):
            self.asked = person
            await send_message(person, f"please decide: {about}")
            if await self.answered(person, about, patience):
                break
        decision = self.decision or NOBODY
        await send_message("staff", f"{about}: {'approved' if decision.approved else 'rejected'} by {decision.by}")
        return decision

    async def answered(self, person: str, about: str, patience: Patience) -> bool:
        """Wait for a decision, and remind the person now and then."""
        for reminder in range(1, patience.reminders + 2):
            try:
                return await workflow.wait_condition(lambda: self.decision is not None, timeout=patience.remind_after)
            except TimeoutError:
                if reminder <= patience.reminders:
                    await send_message(person, f"reminder {reminder}: {about}")
        return False

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        if self.decision is None:  # the first answer counts
            self.decision = decision

    @workflow.query
    def waits_for(self) -> str:
        return self.asked


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Approval], activities=[send_message]),
    ):
        chair = Expense("a chair", 300, manager="mia", director="dan")
        first = await client.start(Approval, chair, id="chair", task_queue=TASK_QUEUE)
        await first.signal(Approval.decide, Decision(approved=True, by="mia"))
        print(f"chair: {await first.result()}")

        desk = Expense("a desk", 900, manager="max", director="dan")
        short = Patience(remind_after=timedelta(seconds=0.2), reminders=1)
        second = await client.start(Approval, desk, short, id="desk", task_queue=TASK_QUEUE)
        print(f"desk: {await second.result()}")


if __name__ == "__main__":
    asyncio.run(main())
