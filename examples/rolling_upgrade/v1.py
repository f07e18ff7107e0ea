"""The workflow as it was deployed first."""

from odradek import workflow

from .activities import charge, send_receipt


@workflow.define
class Payment:
    def __init__(self) -> None:
        self.has_arrived = False

    async def run(self, cents: int) -> list[str]:
        done = [await charge(cents)]
        await workflow.wait_condition(lambda: self.has_arrived)
        return [*done, await send_receipt(cents)]

    @workflow.signal
    def arrived(self) -> None:
        self.has_arrived = True
