"""Onboarding: a welcome, a week's sleep, and then what is right for those who came back and those who did not.

python examples/onboarding.py        weeks of a second's fraction
"""

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from odradek import Client, Worker, activity, workflow

TASK_QUEUE = "onboarding"
Outcome = Literal["active", "won back", "gone"]


@dataclass(frozen=True)
class User:
    name: str
    returns_in_week: int | None = None
    """Stands for a database: when the user comes back, if ever."""


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def has_returned(user: User, weeks: int) -> bool:
    return user.returns_in_week is not None and user.returns_in_week <= weeks


@activity.define(start_to_close_timeout=timedelta(seconds=30))
def send_email(user: User, text: str) -> None:
    print(f"[{user.name}] e-mail: {text}", flush=True)


@workflow.define
async def onboard(user: User, week: timedelta = timedelta(weeks=1)) -> Outcome:
    await send_email(user, "welcome")
    await asyncio.sleep(week.total_seconds())
    if await has_returned(user, 1):
        await send_email(user, "three things that you may not have seen yet")
        return "active"
    await send_email(user, "may we help you to begin?")
    await asyncio.sleep(week.total_seconds())
    if await has_returned(user, 2):
        await send_email(user, "welcome back")
        return "won back"
    await send_email(user, "goodbye")
    return "gone"


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[onboard], activities=[has_returned, send_email]),
    ):
        for user in (User("ada", returns_in_week=1), User("bob", returns_in_week=2), User("cy")):
            week = timedelta(seconds=0.1)
            outcome = await client.execute(onboard, user, week, id=f"onboard-{user.name}", task_queue=TASK_QUEUE)
            print(f"{user.name} is {outcome}")


if __name__ == "__main__":
    asyncio.run(main())
