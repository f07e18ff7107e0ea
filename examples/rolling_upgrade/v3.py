"""All runs that began before the change have ended: the old code goes."""

from odradek import workflow

from .activities import charge, check_for_fraud, send_receipt


@workflow.define
class Payment:
    def __init__(self) -> None:
        self.has_arrived = False

    async def run(self, cents: int) -> list[str]:
        workflow.deprecate_patch("check-for-fraud")
        done = [await check_for_fraud(cents), await charge(cents)]
        await workflow.wait_condition(lambda: self.has_arrived)
        return [*done, await send_receipt(cents)]

    @workflow.signal
    def arrived(self) -> None:
        self.has_arrived = True
