"""Members of a loyalty programme whose bad step is undone by a batch of resets, for a test that kills an engine in the
middle of it: every workflow is reset exactly once."""

from __future__ import annotations

import asyncio

from odradek import Client, WorkflowHandle, activity, workflow

MEMBERS, GONE, BOUGHT = 24, 4, 5
MEMBER_QUEUE = "members"
points = {"per euro": 0}


@activity.define(name="members.rate")
async def rate(member: int) -> int:
    return points["per euro"]


@workflow.define(name="members.part")
async def part(number: int) -> int:
    return number


@workflow.define(name="members.member")
class Member:
    """Its bad step is the answer of `rate`; a child has ended before that."""

    def __init__(self) -> None:
        self.bought: list[int] = []
        self.left = False

    async def run(self, number: int) -> list[int]:
        kept = await workflow.execute_child(part, number, id=f"{workflow.info().workflow_id}-part")
        per_euro = await rate(number)
        await workflow.wait_condition(lambda: self.left)
        return [kept, *(euros * per_euro for euros in self.bought)]

    @workflow.signal
    def buy(self, euros: int) -> None:
        self.bought.append(euros)

    @workflow.signal
    def leave(self) -> None:
        self.left = True


def expected(number: int) -> list[int]:
    return [number, *(euros * points["per euro"] for euros in range(BOUGHT))]


async def begin(client: Client, number: int) -> WorkflowHandle[Member, list[int]]:
    member = await client.start(Member, number, id=f"member-{number}", task_queue=MEMBER_QUEUE)
    for euros in range(BOUGHT):
        await member.signal(Member.buy, euros)
    if number < GONE:
        await member.signal(Member.leave)
        assert await member.result() == [number, *[0] * BOUGHT]
    while "ActivityScheduled" not in [event.type for event in await member.history()]:
        pass
    return member


async def batch(
    client: Client, name: str, which: list[tuple[str, str]], halfway: asyncio.Event
) -> dict[str, list[str]]:
    """What came of each."""
    done: dict[str, list[str]] = {}
    async for result in client.reset_batch(which, activity="members.rate", request_id=name, concurrency=4):
        assert result.workflow_id not in done
        done[result.workflow_id] = [result.status, result.run_id]
        if len(done) == MEMBERS // 4:
            halfway.set()
    return done


async def repair(client: Client, halfway: asyncio.Event) -> None:
    """Set `halfway` in the middle of the batch, and check what became of everybody."""
    points["per euro"] = 0
    members = await asyncio.gather(*(begin(client, number) for number in range(MEMBERS)))
    points["per euro"] = 3
    newest = [(member.id, "") for member in members]
    done = await batch(client, "first", newest, halfway)
    assert {status for status, _ in done.values()} == {"reset"}
    again = await batch(client, "first", newest, halfway)
    assert again == {name: ["already_reset", run_id] for name, (_, run_id) in done.items()}
    await asyncio.gather(*(check(client, number, done[f"member-{number}"][1]) for number in range(MEMBERS)))
    points["per euro"] = 7
    named = await batch(client, "named", [(member.id, member.run_id or "") for member in members[:GONE]], halfway)
    assert {status for status, _ in named.values()} == {"reset"}
    for number in range(GONE):
        assert await client.get(f"member-{number}", Member).result() == expected(number)


async def check(client: Client, number: int, run_id: str) -> None:
    """It is reset once, keeps what came before, and hears again in order what came after."""
    member = client.get(f"member-{number}", Member)
    if number >= GONE:
        await member.signal(Member.leave)
    assert await member.result() == expected(number)
    assert (await member.describe()).run_id == run_id
    events = await member.history()
    kinds = [event.type for event in events]
    assert (kinds.count("WorkflowReset"), kinds.count("ChildWorkflowCompleted")) == (1, 1)
    heard = [event.attributes["input"] for event in events if event.type == "SignalReceived"]
    assert heard[:BOUGHT] == [[euros] for euros in range(BOUGHT)]
    assert len(heard) == BOUGHT + 1
