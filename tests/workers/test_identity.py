"""Who started, signalled, cancelled and terminated a workflow is in its history, and in its description."""

from __future__ import annotations

from odradek import Client, workflow
from odradek.testing import Environment


@workflow.define
class Waits:
    go = ""

    async def run(self, again: bool = True) -> str:
        if again:
            await workflow.wait_condition(lambda: self.go)
            workflow.continue_as_new(Waits, False)
        await workflow.wait_condition(lambda: self.go == "end")
        return self.go

    @workflow.signal
    def tell(self, what: str) -> None:
        self.go = what


async def test_who_asked_is_in_history_and_description() -> None:
    async with (
        Environment(workflows=[Waits], activities=[]) as env,
        Client(env._log, namespace="default", identity="till 7") as till,
        Client(env._log, namespace="default", identity="support") as support,
    ):
        first = await till.start(Waits, id="w", task_queue="default")
        assert (await first.describe()).started_by == "till 7"
        other = support.get("w", Waits)
        await other.signal("unknown", 1)  # kept, and carried on
        await other.signal(Waits.tell, "go")
        while (await other.describe()).run_id == first.run_id:
            pass
        await other.cancel("no stock")
        while (described := await other.describe()).status == "running":
            pass
        assert described.started_by == "till 7", "the next run is the same workflow"
        asked = {e.type: e.attributes["identity"] for e in await other.history() if e.attributes.get("identity")}
        assert asked == {"WorkflowStarted": "till 7", "SignalReceived": "support", "WorkflowCancelRequested": "support"}
        v = {"id": "v", "task_queue": "default"}
        again = await support.signal_with_start(Waits, **v, signal="unknown", signal_args=[1])
        await till.get("v").terminate("enough")
        events = await again.history()
        assert [(e.type, e.attributes["identity"]) for e in events if e.attributes.get("identity")] == [
            ("WorkflowStarted", "support"), ("SignalReceived", "support"), ("WorkflowTerminated", "till 7"),
        ]  # fmt: skip
