# ruff: noqa
"""Messages: arguments and results are checked; each marked line must be an error in both checkers."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import assert_type

from odradek import Client, UpdateHandle, WorkflowHandle, workflow


@workflow.define
class Cart:
    async def run(self, owner: str) -> int:
        return 1

    @workflow.signal
    def pay(self, cents: int) -> None: ...

    @workflow.signal
    async def ship(self, to: str = "home") -> None: ...

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, *args: Any) -> None: ...

    @workflow.query
    def total(self, *, rounded: bool = False) -> float:
        return 1

    @workflow.query(dynamic=True)
    def any_query(self, name: str, *args: Any) -> str:
        return name

    @workflow.update
    def add(self, item: str, count: int = 1) -> list[str]:
        return []

    @add.validator
    def check(self, item: str, count: int = 1) -> None: ...

    @workflow.update
    async def reserve(self, item: str) -> bytes:
        return b""

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, *args: Any) -> None: ...


@workflow.define
class Other:
    async def run(self) -> None: ...

    @workflow.signal
    def poke(self) -> None: ...

    @workflow.query
    def poked(self) -> int:
        return 1

    @workflow.update
    def change(self) -> None: ...


class Stoppable:
    @workflow.signal
    def stop(self) -> None: ...


@workflow.define
class Machine(Stoppable):
    def __init__(self, speed: int = 3) -> None: ...

    async def run(self) -> None: ...


@workflow.define
async def plain(name: str) -> int:
    return len(name)


async def right(client: Client, cart: WorkflowHandle[Cart, int]) -> None:
    await cart.signal(Cart.pay, 3)
    await cart.signal(Cart.ship)
    await cart.signal(Cart.ship, to="office")
    assert_type(await cart.query(Cart.total, rounded=True), float)
    assert_type(await cart.query("any", result_type=str), str)
    assert_type(await cart.update(Cart.add, "poke"), list[str])
    assert_type(await cart.update(Cart.add, "poke", count=2), list[str])
    assert_type(await cart.update(Cart.reserve, "poke"), bytes)
    assert_type(await cart.update("reserve", "poke"), Any)
    assert_type(await cart.update("reserve", "poke", result_type=bytes), bytes)
    started = await cart.start_update(Cart.reserve, "poke")
    assert_type(started, UpdateHandle[bytes])
    assert_type(await started.result(timeout=3), bytes)
    assert_type(started.id, str)
    assert_type(await cart.start_update("reserve", "poke", result_type=bytes), UpdateHandle[bytes])
    assert_type(cart.get_update("u-1", Cart.add), UpdateHandle[list[str]])
    assert_type(cart.get_update("u-1", "add"), UpdateHandle[Any])
    first = await client.update_with_start(Cart, "Ada", id="c", update=Cart.add, update_args=["poke", 2])
    assert_type(first, UpdateHandle[list[str]])
    assert_type(await client.update_with_start(Cart, "Ada", id="c", update="add"), UpdateHandle[Any])
    assert_type(await client.update_with_start("Cart", "Ada", id="c", update=Cart.reserve), UpdateHandle[bytes])
    both = await client.signal_with_start(Cart, "Ada", id="c", signal=Cart.pay, signal_args=[3])
    assert_type(both, WorkflowHandle[Cart, int])
    assert_type(await client.signal_with_start("Cart", "Ada", id="c", signal="pay"), WorkflowHandle[Any, Any])
    machine = await client.signal_with_start(Machine, id="m", signal=Machine.stop)
    assert_type(machine, WorkflowHandle[Machine, None])
    await client.signal_with_start(plain, "Ada", id="p", signal="told")
    mine = Cart()
    pay: Callable[[int], None] = mine.pay
    pay(3)
    assert_type(mine.add("poke"), list[str])
    assert_type(await mine.reserve("poke"), bytes)
    workflow.set_signal_handler("pay", mine.pay)
    workflow.set_query_handler(None, str.upper)
    workflow.set_update_handler("add", mine.add, validator=mine.check)
    workflow.set_update_handler("add", None)


async def wrong(client: Client, cart: WorkflowHandle[Cart, int]) -> None:
    await cart.signal(Cart.pay)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await cart.signal(Cart.pay, "3")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cart.signal(Cart.ship, at="office")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await cart.signal(Other.poke)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cart.signal(Cart.add, "poke")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cart.query(Cart.total, True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await cart.query(Other.poked)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cart.update(Cart.add)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await cart.update(Cart.add, "poke", "2")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cart.update(Cart.pay, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cart.start_update(Other.change)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    _: int = await cart.update(Cart.reserve, "poke")  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
    cart.get_update("u-1", Other.change)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.update_with_start(Cart, "Ada", id="c")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.update_with_start(Cart, 3, id="c", update=Cart.add)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.update_with_start(Cart, "Ada", id="c", update=Other.change)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.signal_with_start(Cart, "Ada", id="c", signal=Other.poke)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.signal_with_start(Machine, id="m", signal=Cart.pay)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await client.signal_with_start(Cart, "Ada", signal=Cart.pay)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.signal_with_start(Cart, "Ada", id="c", signal=Cart.add)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
