"""What client and worker agree on: names, arguments, results. Without any code behind it: a client needs only this."""

from dataclasses import dataclass
from datetime import timedelta

from odradek import RetryPolicy, activity, workflow

TASK_QUEUE = "cluster"
ADD_TIMEOUT = timedelta(hours=1)
"""The execution timeout of AddNode."""


def workflow_id(node: str) -> str:
    """One ID for all that happens to a node, so that only one thing happens to it at a time."""
    return f"node-{node}"


@dataclass(frozen=True)
class NodeSpec:
    name: str
    packages: int = 3


@dataclass(frozen=True)
class Node:
    name: str
    address: str


# ------------------------------------------------------------ the workflows, as clients see them


@workflow.define
class AddNode:
    async def run(self, spec: NodeSpec) -> Node:
        raise NotImplementedError

    @workflow.query
    def phase(self) -> str:
        raise NotImplementedError


@workflow.define
class DeleteNode:
    async def run(self, name: str) -> None:
        raise NotImplementedError


# ------------------------------------------------------------ the activities, as workflows see them

RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=1))


@activity.define(start_to_close_timeout=timedelta(minutes=5), retry_policy=RETRIES)
async def create_machine(spec: NodeSpec) -> Node:
    raise NotImplementedError


@activity.define(
    start_to_close_timeout=timedelta(minutes=50),
    heartbeat_timeout=timedelta(seconds=30),
    cancellation_type="wait",
    retry_policy=RETRIES,
)
async def install(node: Node, packages: int) -> int:
    """Takes long. Says how far it is; stops and cleans up when it is cancelled, or when the workflow has ended."""
    raise NotImplementedError


@activity.define(start_to_close_timeout=timedelta(minutes=1), retry_policy=RETRIES)
async def join_cluster(node: Node) -> None:
    raise NotImplementedError


@activity.define(start_to_close_timeout=timedelta(minutes=1), retry_policy=RETRIES)
async def leave_cluster(name: str) -> None:
    """Nothing happens if the node is not in the cluster."""
    raise NotImplementedError


@activity.define(start_to_close_timeout=timedelta(minutes=5), retry_policy=RETRIES)
async def delete_machine(name: str) -> None:
    """Fails while something is being installed; nothing happens if there is no such machine."""
    raise NotImplementedError
