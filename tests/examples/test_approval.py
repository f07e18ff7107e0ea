"""Approval by a person on the test kit's clock."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from odradek.errors import WorkflowClosedError
from odradek.testing import Environment

from examples.approval import NOBODY, Approval, Decision, Expense, send_message

from .recording import recorded

DAY = timedelta(days=1)
CHAIR = Expense("a chair", 300, manager="mia", director="dan")
YES = Decision(approved=True, by="mia")


class Mail:
    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    async def send(self, to: str, text: str) -> None:
        self.sent.append((to, text.partition(":")[0]))

    def environment(self) -> Environment:
        return Environment(workflows=[Approval], activities={send_message: self.send})


async def test_the_first_answer_counts() -> None:
    mail = Mail()
    async with mail.environment() as env:
        approval = await env.client.start(Approval, CHAIR, id="a")
        await env.sleep(DAY / 2)
        await approval.signal(Approval.decide, YES)
        with contextlib.suppress(WorkflowClosedError):  # it may have ended by now
            await approval.signal(Approval.decide, Decision(approved=False, by="dan"))
        assert await approval.result() == YES
        await recorded(approval, "approval-approved")
    assert mail.sent == [("mia", "please decide"), ("staff", "300 euros for a chair")]


async def test_reminders_then_the_director() -> None:
    mail = Mail()
    async with mail.environment() as env:
        approval = await env.client.start(Approval, CHAIR, id="a")
        await env.sleep(3.5 * DAY)
        assert await approval.query(Approval.waits_for) == "mia"
        await env.sleep(DAY)
        assert await approval.query(Approval.waits_for) == "dan"
        no = Decision(approved=False, by="dan", why="we have chairs")
        await approval.signal(Approval.decide, no)
        assert await approval.result() == no
        await recorded(approval, "approval-escalated")
    reminders = [("mia", f"reminder {number}") for number in (1, 2, 3)]
    assert mail.sent[:5] == [("mia", "please decide"), *reminders, ("dan", "please decide")]


async def test_nobody_answers() -> None:
    mail = Mail()
    async with mail.environment() as env:
        began = env.now()
        assert await env.client.execute(Approval, CHAIR, id="a") == NOBODY
        assert 8 * DAY <= env.now() - began < 9 * DAY
    assert [text for to, text in mail.sent if to == "dan"] == [
        "please decide",
        "reminder 1",
        "reminder 2",
        "reminder 3",
    ]
