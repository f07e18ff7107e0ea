"""With a codec no plaintext is anywhere; a missing key stops a workflow without harming it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from odradek import (
    AESGCMCodec,
    ApplicationError,
    Client,
    DataConverter,
    RetryPolicy,
    UpdateRejectedError,
    Worker,
    WorkflowFailedError,
    WorkflowHandle,
    ZlibCodec,
    activity,
    workflow,
)
from odradek.interceptors import (
    ClientInterceptor,
    ExecuteWorkflowInput,
    Interceptor,
    QueryWorkflowInput,
    ScheduleActivityInput,
    SignalWorkflowInput,
    StartChildWorkflowInput,
    StartWorkflowInput,
    UpdateWorkflowInput,
    WorkflowInterceptor,
)
from odradek_engine import Engine
from odradek_log import Log, TopicPartition, open_log

from .system import described

KINDS = (
    "input",
    "memo",
    "signal",
    "query",
    "answer",
    "argument",
    "beat",
    "detail",
    "message",
    "local",
    "result",
    "final",
    "update",
    "updated",
    "refusal",
    "header",
)
QUEUE = "secrets"


class Leak(ApplicationError):
    pass


class Headers(Interceptor):
    """The secret goes along with each call: starts, messages, activities, children, the next run."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def intercept_client(self, next: ClientInterceptor) -> ClientInterceptor:
        return HeadersOfClient(next, self.secret)

    def intercept_workflow(self, next: WorkflowInterceptor) -> WorkflowInterceptor:
        return HeadersOfWorkflow(next)


class HeadersOfClient(ClientInterceptor):
    def __init__(self, next: ClientInterceptor, secret: str) -> None:
        super().__init__(next)
        self.secret = secret

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers["secret"] = self.secret
        return await self.next.start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        input.headers["secret"] = self.secret
        await self.next.signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        input.headers["secret"] = self.secret
        return await self.next.query_workflow(input)

    async def update_workflow(self, input: UpdateWorkflowInput) -> Any:
        input.headers["secret"] = self.secret
        return await self.next.update_workflow(input)


class HeadersOfWorkflow(WorkflowInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self.headers = input.headers
        return await self.next.execute_workflow(input)

    async def execute_activity(self, input: ScheduleActivityInput) -> Any:
        input.headers |= self.headers
        return await self.next.execute_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        input.headers |= self.headers
        return await self.next.start_child_workflow(input)


@activity.define(retry_policy=RetryPolicy(initial_interval=0.01))
async def handle(secrets: dict[str, str]) -> str:
    if activity.info().attempt == 1:
        activity.heartbeat(secrets["beat"])
        raise ApplicationError(secrets["message"], secrets["detail"])
    return secrets["result"]


@workflow.define
async def twice(secret: str, again: int) -> str:
    if again:
        workflow.continue_as_new(twice, secret, 0)
    return secret


@workflow.define
class Keeper:
    def __init__(self) -> None:
        self.told = ""
        self.secrets: dict[str, str] = {}

    async def run(self, secrets: dict[str, str]) -> str:
        self.secrets = secrets
        await workflow.wait_condition(lambda: self.told)
        assert workflow.memo()["memo"] == secrets["memo"]
        assert workflow.info().search_attributes["City"] == "Graz"
        workflow.upsert_search_attributes({"District": "Gries"})
        assert await handle(secrets) == secrets["result"]
        await workflow.execute_child(twice, secrets["argument"], 1)
        if self.told.startswith("fail"):
            raise Leak(secrets["final"], secrets["detail"])
        return secrets["final"]

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told = what

    @workflow.update
    def change(self, what: str) -> str:
        return self.secrets["updated"]

    @change.validator
    def check_change(self, what: str) -> None:
        if what.startswith("fail"):
            raise ApplicationError(self.secrets["refusal"])

    @workflow.query
    def ask(self, what: str) -> str:
        if what.startswith("fail"):
            raise ValueError(self.secrets["local"])
        return self.secrets["answer"]


def all_values(log: Log, prefix: str) -> Iterable[bytes]:
    """Whatever is in any topic of the namespace."""
    for topic in log.topics(prefix):
        for number in range(log.partitions(topic)):
            where = TopicPartition(topic, number)
            begin, end = log.offsets(where)
            consumer = log.consumer()
            consumer.assign({where: begin})
            while begin < end:
                for record in consumer.poll(1.0):
                    yield record.key + record.value
                    begin = record.offset + 1
            consumer.close()


def all_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def live_through(client: Client, secrets: dict[str, str]) -> None:
    """All that carries a user's data, both in a workflow that completes and in one that fails."""
    for how in ("complete", "fail"):
        handle_ = await client.start(
            Keeper, secrets, id=f"keeper-{how}", task_queue=QUEUE,
            memo={"memo": secrets["memo"]}, search_attributes={"City": "Graz"},
        )  # fmt: skip
        assert await handle_.query(Keeper.ask, secrets["query"]) == secrets["answer"]
        with pytest.raises(Exception, match=secrets["local"]):
            await handle_.query(Keeper.ask, "fail" + secrets["query"])
        assert await handle_.update(Keeper.change, secrets["update"]) == secrets["updated"]
        with pytest.raises(UpdateRejectedError, match=secrets["refusal"]):
            await handle_.update(Keeper.change, "fail")
        await handle_.signal(Keeper.tell, how + secrets["signal"])
        if how == "complete":
            assert await handle_.result() == secrets["final"]
        else:
            with pytest.raises(WorkflowFailedError, match=secrets["final"]) as failed:
                await handle_.result()
            cause = failed.value.__cause__
            assert isinstance(cause, Leak)
            assert cause.details == (secrets["detail"],)
        described = await handle_.describe()
        assert described.memo == {"memo": secrets["memo"]}
        assert described.search_attributes == {"City": "Graz", "District": "Gries"}


async def traces(target: str, folder: Path, codec: Any, secrets: dict[str, str]) -> set[str]:
    """Run it all; return the kinds of secrets that are found in topics or in files."""
    namespace = f"secret-{uuid.uuid4().hex[:8]}"
    log = await asyncio.to_thread(open_log, target)
    try:
        converter = DataConverter(codec=codec)
        async with (
            Engine(log=log, namespace=namespace, data_dir=folder / "state", partitions=2),
            Client(
                log, namespace=namespace, data_converter=converter, interceptors=[Headers(secrets["header"])]
            ) as client,
            Worker(client, task_queue=QUEUE, workflows=[Keeper, twice], activities=[handle]),
        ):
            await live_through(client, secrets)
        values = await asyncio.to_thread(lambda: b"".join(all_values(log, f"odradek.{namespace}.")))
    finally:
        await asyncio.to_thread(log.close)
    files = await asyncio.to_thread(all_files, folder)
    assert b"keeper-complete" in values, "there is something to be found"
    assert b"keeper-complete" in files
    assert b"Graz" in values, "search attributes are plain"
    assert b"Gries" in values
    return {kind for kind, secret in secrets.items() if secret.encode() in values or secret.encode() in files}


@pytest.fixture(params=["embedded", "kafka"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    def address(name: str) -> str:
        if request.param == "embedded":
            return f"file:{tmp_path / name / 'log'}"
        return f"kafka://{request.getfixturevalue('kafka_bootstrap')}"

    return address


async def test_no_plaintext_is_in_any_topic_or_file(target: Callable[[str], str], tmp_path: Path) -> None:
    secrets = {kind: f"{kind}-{os.urandom(12).hex()}" for kind in KINDS}
    for name in ("plain", "coded"):
        (tmp_path / name).mkdir()
    seen = await traces(target("plain"), tmp_path / "plain", None, secrets)
    assert seen == set(KINDS), "without a codec this test finds each of them"
    codec = [ZlibCodec(min_bytes=32), AESGCMCodec({"k1": os.urandom(32)})]
    assert await traces(target("coded"), tmp_path / "coded", codec, secrets) == set()


async def test_without_the_key_a_workflow_stays_open_until_it_is_there(
    target: Callable[[str], str], tmp_path: Path
) -> None:
    old, new = os.urandom(32), os.urandom(32)
    right = DataConverter(codec=AESGCMCodec({"new": new, "old": old}))
    wrong = DataConverter(codec=AESGCMCodec({"old": old}))
    namespace = f"keys-{uuid.uuid4().hex[:8]}"
    log = await asyncio.to_thread(open_log, target("keys"))
    secrets = dict.fromkeys(KINDS, "x")
    try:
        async with (
            Engine(log=log, namespace=namespace, data_dir=tmp_path / "state", partitions=2),
            Client(log, namespace=namespace, data_converter=right) as client,
        ):
            handle_ = await client.start(Keeper, secrets, id="k", task_queue=QUEUE, memo={"memo": "x"},
                                         search_attributes={"City": "Graz"})  # fmt: skip
            async with (
                Client(log, namespace=namespace, data_converter=wrong) as other,
                Worker(other, task_queue=QUEUE, workflows=[Keeper, twice], activities=[handle]),
            ):
                stuck = await described(other.get("k"), lambda d: d.task_failure is not None)
                assert stuck.status == "running"
                assert "is encrypted with key 'new', which this codec does not have" in str(stuck.task_failure)
            await handle_.signal(Keeper.tell, "go")
            async with Worker(client, task_queue=QUEUE, workflows=[Keeper, twice], activities=[handle]):
                assert await handle_.result() == "x"
    finally:
        await asyncio.to_thread(log.close)
