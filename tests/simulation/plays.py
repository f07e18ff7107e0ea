"""The example programs as plays: their own workflows and activities, with customers who know how each must end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from odradek import ActivityNotFoundError, AESGCMCodec, DataConverter

from examples import (
    approval,
    cron_loop,
    encrypted,
    fan_out,
    file_processing,
    hello,
    limited_parallelism,
    loyalty,
    onboarding,
    order_item,
    subscription,
    trip,
)
from examples.data_routing import routing

from .programs import insist
from .stage import Hire, Play, Stage, always, noted

PRINTING = (approval, file_processing, onboarding, order_item, subscription, trip, cron_loop)
"""Examples that tell on the terminal what they do."""


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


# ---------------------------------------------------------------- one workflow each


async def _hello(stage: Stage) -> None:
    handle = await stage.start(hello.greet, "Ada", id=stage.name)
    stage.expect(stage.name, await stage.result(handle), "Hello, Ada!")


async def _approval(stage: Stage) -> None:
    """The manager answers, or is late, or nobody answers."""
    answer = stage.rng.choice(("manager", "late", "nobody"))
    patience = approval.Patience(remind_after=seconds(4), reminders=1)
    expense = approval.Expense("a chair", 300, manager="mia", director="dan")
    handle = await stage.start(approval.Approval, expense, patience, id=stage.name)
    decision = approval.Decision(approved=True, by="mia")
    if answer != "nobody":
        if answer == "late":
            while await insist(lambda: handle.query(approval.Approval.waits_for)) != "dan":
                await asyncio.sleep(1)
        heard = await stage.signal(handle, "decide", approval.Approval.decide, decision)
        stage.expect(stage.name, await stage.result(handle), decision if heard else approval.NOBODY, approval.NOBODY)
    else:
        stage.expect(stage.name, await stage.result(handle), approval.NOBODY)


async def _subscription(stage: Stage) -> None:
    leaves = stage.rng.random() < 0.5
    customer = subscription.Customer("ada", card_months=1_000 if leaves else 3)
    plan = subscription.Plan(999, trial=seconds(2), period=seconds(3))
    handle = await stage.start(subscription.Subscription, customer, plan, id=stage.name)
    if leaves:
        await asyncio.sleep(stage.rng.uniform(0, 10))
        await stage.signal(handle, "cancel", subscription.Subscription.cancel)
        paid = await stage.result(handle)
        if not isinstance(paid, int):
            stage.expect(stage.name, paid, "a number of months")
    else:
        stage.expect(stage.name, await stage.result(handle), 3)


async def _trip(stage: Stage) -> None:
    to = stage.rng.choice(("Prague", "Atlantis"))
    handle = await stage.start(trip.book_trip, trip.Trip("ada", to), id=stage.name)
    stage.expect(
        stage.name, await stage.result(handle), ["car-1", "hotel-1", "flight-1"] if to == "Prague" else "SoldOut"
    )


async def _cron_loop(stage: Stage) -> None:
    rounds = cron_loop.Rounds(every=seconds(2), left=5, per_run=2)
    handle = await stage.start(cron_loop.Reports, rounds, id=stage.name)
    await stage.signal(handle, "now", cron_loop.Reports.report_now)
    stage.expect(stage.name, await stage.result(handle), 5)


async def _fan_out(stage: Stage) -> None:
    pages = 25
    handle = await stage.start(fan_out.count_book, fan_out.Book("The Castle", pages), id=stage.name)
    counts = [200 + page * 7919 % 300 for page in range(pages)]
    stage.expect(stage.name, await stage.result(handle), fan_out.Count(sum(counts), counts.index(max(counts))))


async def _onboarding(stage: Stage) -> None:
    week, outcome = stage.rng.choice(((1, "active"), (2, "won back"), (None, "gone")))
    handle = await stage.start(onboarding.onboard, onboarding.User("ada", week), seconds(3), id=stage.name)
    stage.expect(stage.name, await stage.result(handle), outcome)


async def _order_item(stage: Stage) -> None:
    sku = stage.rng.choice(("poke", "poke", "unicorn"))
    handle = await stage.start(order_item.OrderItem, order_item.Item(sku, 2), id=stage.name)
    good = f"parcel for the reservation of {stage.name}"
    stage.expect(stage.name, await stage.result(handle), good if sku == "poke" else "UnknownItem")


async def _encrypted(stage: Stage) -> None:
    handle = await stage.start(encrypted.prescribe, encrypted.Prescription("Ada", "aspirin"), id=stage.name)
    stage.expect(stage.name, await stage.result(handle), "aspirin is ready for Ada")


# ---------------------------------------------------------------- several workflows


async def _loyalty(stage: Stage) -> None:
    """A member buys and leaves; meanwhile, all members' purchases may be counted again."""
    account = await stage.start(loyalty.Loyalty, loyalty.Account("ada"), 4, id=stage.name)
    purchases = [stage.rng.randint(10, 60) for _ in range(5)]
    for number, euros in enumerate(purchases):
        await asyncio.sleep(stage.rng.choice((0.0, 1.0)))
        await stage.signal(account, f"buy-{number}", loyalty.Loyalty.buy, euros)
    if stage.rng.random() < 0.4:
        await stage.once("reset", lambda: _count_again(stage))
    await stage.signal(account, "leave", loyalty.Loyalty.leave)
    points = sum(purchases)
    result = await stage.result(account)
    gold = result.is_gold if isinstance(result, loyalty.Account) else None
    stage.expect(stage.name, result, loyalty.Account("ada", points, points >= loyalty.GOLD or bool(gold)))


async def _count_again(stage: Stage) -> int:
    """A batch of resets; what it could not reset, it says."""
    done = 0
    async for member in stage.client.reset_batch(
        [stage.name], event_id=1, request_id=f"again-{stage.name}", reason="points were counted twice"
    ):
        done += member.status == "reset"
    return done


async def _limited_parallelism(stage: Stage) -> None:
    slots_id = f"{stage.name}-slots"
    slots = await stage.start(limited_parallelism.Slots, limited_parallelism.Limit(2), id=slots_id)
    jobs = [
        await stage.start(limited_parallelism.Job, number, slots_id, id=f"{stage.name}-{number}") for number in range(5)
    ]
    for number, job in enumerate(jobs):
        stage.expect(job.id, await stage.result(job), number * number)
    while held := await insist(lambda: slots.query(limited_parallelism.Slots.holders)):
        if not set(held) <= {job.id for job in jobs}:
            stage.expect(slots_id, held, [])
        await asyncio.sleep(1)
    await stage.once("end", lambda: slots.with_options(request_id=f"end-{slots_id}").terminate("no more jobs"))
    stage.expect(slots_id, await stage.result(slots), "WorkflowTerminatedError")


# ---------------------------------------------------------------- files on hosts


class _Shelf:
    """Files in memory, by path: what `pathlib.Path` is to the example."""

    files: dict[str, str] = {}

    def __init__(self, path: str) -> None:
        self.path = path

    def __truediv__(self, name: str) -> _Shelf:
        return _Shelf(f"{self.path}/{name}")

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def with_suffix(self, suffix: str) -> _Shelf:
        return _Shelf(self.path.rpartition(".")[0] + suffix)

    def write_text(self, text: str) -> None:
        self.files[self.path] = text

    def read_text(self) -> str:
        return self.files[self.path]


def _hosts(machine: str, at: float) -> Sequence[Hire]:
    """A machine is a host: it has a queue of its own."""
    host = file_processing.Host(f"files-{machine}", _Shelf(machine))  # type: ignore[arg-type]
    return [
        ([file_processing.process_file], noted(host.fetch), {}),
        ([], noted(host.process, host.upload), {"task_queue": host.name}),
    ]


async def _files(stage: Stage) -> None:
    handle = await stage.start(file_processing.process_file, f"{stage.name}.txt", seconds(40), id=stage.name)
    stage.expect(stage.name, await stage.result(handle), 15, "ApplicationError")


# ---------------------------------------------------------------- answers from outside


class _Providers:
    """The world outside, as the activities see it: a directory of routes, and providers that are told where to
    answer. They answer by the hand of the play's client."""

    told: list[tuple[str, str]] = []

    def get(self, url: str) -> _Answer:
        return _Answer(["north", "east", "south"])

    def post(self, url: str, json: Any) -> _Answer:
        self.told.append((url.rpartition("/")[2], json["answer_to"].rpartition("/")[2]))
        return _Answer(None)


class _Answer:
    def __init__(self, body: Any) -> None:
        self.body = body

    async def __aenter__(self) -> _Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def raise_for_status(self) -> None:
        pass

    async def json(self) -> Any:
        return self.body


def _network(machine: str, at: float) -> Sequence[Hire]:
    network = routing.Network(_Providers(), "http://providers", "http://callbacks")  # type: ignore[arg-type]
    return [([routing.route], noted(network.find_route, network.transmit), {})]


async def _answers(stage: Stage) -> None:
    """Providers answer each transmission, or say first that they are at it; north does not answer."""
    while True:
        for provider, token in list(_Providers.told):
            if provider == "north" or (provider, token) in stage.memory:
                continue
            try:
                if stage.rng.random() < 0.3:
                    await insist(lambda t=token: stage.client.heartbeat_activity(t, "at it"))  # type: ignore[misc]
                if provider == "east" and stage.rng.random() < 0.2:
                    error = RuntimeError("the parcel was lost")
                    await insist(lambda t=token, e=error: stage.client.fail_activity(t, e))  # type: ignore[misc]
                else:
                    await insist(lambda t=token, p=provider: stage.client.complete_activity(t, p))  # type: ignore[misc]
            except ActivityNotFoundError:
                pass  # too late
            stage.memory[provider, token] = True
        await asyncio.sleep(0.5)


async def _data_routing(stage: Stage) -> None:
    message = routing.Message(1, "hello", retries=1, answer_within=seconds(6))
    handle = await stage.start(routing.route, message, id=stage.name)
    answering = asyncio.create_task(_answers(stage))
    try:
        result = await stage.result(handle)
    finally:
        answering.cancel()
    if isinstance(result, routing.Delivery):
        stage.expect(f"{stage.name} by {result.provider}", result.receipt, result.provider)
    else:
        stage.expect(stage.name, result, "RuntimeError")  # a provider said that it failed


def _key() -> DataConverter:
    return DataConverter(codec=AESGCMCodec({"2026-11": hashlib.sha256(b"a secret").digest()}))


def _play(name: str, act: Any, workflows: list[Any], activities: list[Any], **options: Any) -> Play:
    hire = options.pop("hire", None) or always(workflows, noted(*activities))
    return Play(name=name, hire=hire, act=act, replayed=workflows, **options)


EXAMPLES = [
    _play("hello", _hello, [hello.greet], [hello.compose]),
    _play("approval", _approval, [approval.Approval], [approval.send_message]),
    _play(
        "subscription", _subscription, [subscription.Subscription], [subscription.charge, subscription.send_email]
    ),
    _play("trip", _trip, [trip.book_trip], trip.ACTIVITIES),
    _play("cron-loop", _cron_loop, [cron_loop.Reports], [cron_loop.write_report]),
    _play("fan-out", _fan_out, [fan_out.count_book], [fan_out.count_words]),
    _play("onboarding", _onboarding, [onboarding.onboard], [onboarding.has_returned, onboarding.send_email]),
    _play(
        "order-item",
        _order_item,
        [order_item.OrderItem],
        [order_item.init_order, order_item.fulfill_order, order_item.archive_order],
    ),
    _play("encrypted", _encrypted, [encrypted.prescribe], [encrypted.send_to_pharmacy], converter=_key),
    _play("loyalty", _loyalty, [loyalty.Loyalty], [loyalty.send_card]),
    _play(
        "limited-parallelism",
        _limited_parallelism,
        [limited_parallelism.Slots, limited_parallelism.Job],
        [limited_parallelism.work],
    ),
    _play("files", _files, [file_processing.process_file], [], hire=_hosts),
    _play("data-routing", _data_routing, [routing.route], [], hire=_network),
]
"""All examples but the food order, which every world has, and the rolling upgrade, a play of deployments."""


@contextmanager
def staged() -> Iterator[None]:
    """What the examples say is for people, and their files and providers are those of the play."""
    _Shelf.files.clear()
    _Providers.told.clear()
    put: list[tuple[Any, str, Any]] = [(module, "print", lambda *words, **options: None) for module in PRINTING]
    put.append((file_processing, "Path", _Shelf))
    before = [vars(module).get(name) for module, name, _ in put]
    for module, name, value in put:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(put, before, strict=True):
            if value is None:
                delattr(module, name)
            else:
                setattr(module, name, value)
