"""The life of a cluster's nodes: what was made is undone, whatever ends AddNode."""

from __future__ import annotations

import asyncio
import inspect
from datetime import timedelta

import pytest
from odradek import ApplicationError, WorkflowAlreadyStartedError, WorkflowCancelledError, WorkflowFailedError
from odradek.testing import Environment

from examples.cluster_node import AddNode, DeleteNode, contracts, workflows
from examples.cluster_node.__main__ import FOREVER, add, delete, installing
from examples.cluster_node.activities import Cloud
from examples.cluster_node.contracts import Node, NodeSpec, workflow_id

from .recording import recorded


class Broken(Cloud):
    async def join_cluster(self, node: Node) -> None:
        raise ApplicationError("no quorum", non_retryable=True)


class Watched(Cloud):
    """Tells when an installation was stopped."""

    def __init__(self) -> None:
        super().__init__(0.001)
        self.stopped = asyncio.Event()

    async def install(self, node: Node, packages: int) -> int:
        try:
            return await super().install(node, packages)
        finally:
            self.stopped.set()


def environment(cloud: Cloud) -> Environment:
    return Environment(workflows=[AddNode, DeleteNode], activities=cloud.activities())


async def test_a_node_is_added_and_deleted() -> None:
    cloud = Cloud(0)
    async with environment(cloud) as env:
        adding = await add(env.client, NodeSpec("a", packages=5))
        assert await adding.result() == Node("a", "a.cluster.example")
        assert (cloud.machines, cloud.joined) == ({"a": 5}, {"a"})
        assert await adding.query(contracts.AddNode.phase) == "ready"
        await recorded(env.client.get(adding.id), "cluster_node-added")
        await delete(env.client, "a")
        assert (cloud.machines, cloud.joined) == ({}, set())
        await recorded(env.client.get(adding.id), "cluster_node-deleted")


async def test_a_failure_rolls_back_what_was_made() -> None:
    cloud = Broken(0)
    async with environment(cloud) as env:
        adding = await add(env.client, NodeSpec("a"))
        with pytest.raises(WorkflowFailedError, match="no quorum"):
            await adding.result()
        await recorded(adding, "cluster_node-rolled-back")
    assert (cloud.machines, cloud.joined) == ({}, set())


async def test_a_cancelled_installation_stops_before_the_machine_goes() -> None:
    cloud = Watched()
    async with environment(cloud) as env:
        adding = await add(env.client, NodeSpec("a", FOREVER))
        await installing(adding)
        with pytest.raises(WorkflowAlreadyStartedError):
            await add(env.client, NodeSpec("a"))
        assert (await env.client.get(workflow_id("a")).describe()).workflow_type == "AddNode"
        await adding.cancel()
        with pytest.raises(WorkflowFailedError) as failed:
            await adding.result()
        assert isinstance(failed.value.cause, WorkflowCancelledError)
        assert cloud.stopped.is_set()
        await recorded(adding, "cluster_node-cancelled")
    assert cloud.machines == {}


async def test_delete_displaces_an_add_and_the_installation_learns_of_it() -> None:
    cloud = Watched()
    async with environment(cloud) as env:
        adding = await add(env.client, NodeSpec("a", FOREVER))
        await installing(adding)
        await delete(env.client, "a")
        assert (await env.client.get(adding.id, run_id=adding.run_id).describe()).status == "terminated"
    assert cloud.stopped.is_set()
    assert cloud.machines == {}


async def test_the_execution_timeout_ends_an_add_that_nobody_works_on() -> None:
    async with Environment(workflows=[AddNode, DeleteNode], away=[contracts.TASK_QUEUE]) as env:
        began = env.now()
        adding = await add(env.client, NodeSpec("a"))
        with pytest.raises(WorkflowFailedError, match="execution_timeout"):
            await adding.result()
        assert timedelta(hours=1) <= env.now() - began < timedelta(hours=1, minutes=1)


def test_the_workflows_keep_their_contracts() -> None:
    for name in ("AddNode", "DeleteNode"):
        contract, made = getattr(contracts, name), getattr(workflows, name)
        assert inspect.signature(contract.run) == inspect.signature(made.run)
        assert contract.run.__annotations__ == made.run.__annotations__
