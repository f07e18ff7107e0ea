"""The change goes in beside the old code: runs that are past that point go on without it."""

from odradek import workflow

from .activities import charge, check_for_fraud, send_receipt


@workflow.define
class Payment:
    def __init__(self) -> None:
        self.has_arrived = False

    async def run(self, cents: int) -> list[str]:
        done: list[str] = []
        if workflow.patched("check-for-fraud"):
            done.append(await check_for_fraud(cents))
        done.append(await charge(cents))
        await workflow.wait_condition(lambda: self.has_arrived)
        return [*done, await send_receipt(cents)]

    @workflow.signal
    def arrived(self) -> None:
        self.has_arrived = True
