"""The workflows behind the contracts."""

import asyncio

from odradek import workflow

from . import contracts
from .contracts import Node, NodeSpec


@workflow.define
class AddNode:
    def __init__(self) -> None:
        self.now = "creating a machine"

    async def run(self, spec: NodeSpec) -> Node:
        try:
            node = await contracts.create_machine(spec)
            self.now = "installing"
            await contracts.install(node, spec.packages)
            self.now = "joining the cluster"
            await contracts.join_cluster(node)
            self.now = "ready"
            return node
        except (Exception, asyncio.CancelledError):
            self.now = "rolling back"
            await asyncio.shield(remove(spec.name))
            raise

    @workflow.query
    def phase(self) -> str:
        return self.now


@workflow.define
class DeleteNode:
    async def run(self, name: str) -> None:
        await remove(name)


async def remove(name: str) -> None:
    """Undo all that AddNode may have made, the last first. Each step finds out itself whether there is something."""
    await contracts.leave_cluster(name)
    await contracts.delete_machine(name)
