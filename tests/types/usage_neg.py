# ruff: noqa
"""Every marked line must be an error in both checkers (unused ignores are errors)."""
from __future__ import annotations

from odradek import ApplicationError, Client, activity, workflow
from usage_pos import Five, Greet, Nil, Order, Payments, Product, charge, greet, log, notify, refund


class Bad(ApplicationError, nonretryable=True): ...  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]


@activity.define(start_to_close="5")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
async def bad_option() -> None: ...


@activity.define(start_to_close_timeout="5")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
async def bad_value() -> None: ...


@workflow.define
class Other:
    async def run(self) -> None: ...

    @workflow.signal
    def poke(self, n: int) -> None: ...

    @workflow.signal  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
    def signal_with_result(self) -> int:
        return 1

    @workflow.update
    def add(self, n: int) -> int:
        return n

    @add.validator  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def wrong_parameters(self, n: str) -> None: ...

    @add.validator  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    def returns_something(self, n: int) -> bool:
        return True


@workflow.define  # type: ignore[arg-type]  # pyright: ignore
def not_async() -> int:
    return 1


async def activities(p: Product) -> None:
    await charge("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await charge()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await refund(p, "x", notes="y")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    charge(p)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    notify("x")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    n: str = await notify("x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    m: int = notify("x")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(n, m)
    await charge.with_options(taskqueue="p")(p)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await charge.with_options(task_queue=3)(p)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Payments.charge("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Payments.charge(Payments(1), p)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await workflow.execute_activity(log, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    workflow.wait_condition(lambda: True)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    charge.with_fn(lambda product: 3)  # type: ignore[arg-type, return-value]  # pyright: ignore
    charge.with_fn(lambda: "x")  # type: ignore[misc, arg-type]  # pyright: ignore
    await workflow.execute_child(Greet, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await workflow.execute_child(Greet, "x", parent_close_policy="keep")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    workflow.continue_as_new(Greet, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def client_side(client: Client, p: Product) -> None:
    await client.start(Order, "p", id="o")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Order, id="o")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Order, p, True, 3, id="o")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Order, p)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.start(Order, p, id="o", taskqueue="q")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.start(Order, p, id="o", task_queue=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Order, p, id="o", id_conflict_policy="use-existing")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Five, 1, "b", 2.0, 3, id="o")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Nil, 1, id="o")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(greet, 1, id="o")  # type: ignore[misc]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.start(Product, 1, id="o")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client.start(Nil, id="o")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    r: int = await client.execute(Order, p, id="o")  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
    print(r)
    h = await client.start(Order, p, id="o")
    await h.signal(Order.picked_up, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await h.signal(Order.picked_up)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await h.signal(Order.status)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await h.signal(Other.poke, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await h.query(Order.picked_up)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await h.query(Order.eta, unit=3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await h.update(Order.rename, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await h.update(Order.status)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    s: int = await h.update(Order.rename, "x")  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
    print(s)
    await workflow.external("o", Order).signal(Other.poke, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.get("o", Order).signal(Other.poke, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
