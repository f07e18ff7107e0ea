"""Four nodes: one that is added and deleted; one added twice, and cancelled; one that is deleted while it is added.

python -m examples.cluster_node
"""

import asyncio
import os

from odradek import Client, Worker, WorkflowAlreadyStartedError, WorkflowFailedError, WorkflowHandle

from .activities import Cloud
from .contracts import ADD_TIMEOUT, TASK_QUEUE, AddNode, DeleteNode, Node, NodeSpec, workflow_id
from .workflows import AddNode as RunAddNode
from .workflows import DeleteNode as RunDeleteNode

FOREVER = 1_000_000
"""So many packages that the installation does not end before it is stopped."""


async def add(client: Client, spec: NodeSpec) -> WorkflowHandle[AddNode, Node]:
    return await client.start(
        AddNode, spec, id=workflow_id(spec.name), task_queue=TASK_QUEUE, execution_timeout=ADD_TIMEOUT
    )


async def delete(client: Client, name: str) -> None:
    """Also while the node is being added: DeleteNode takes the place of AddNode."""
    await client.execute(
        DeleteNode, name, id=workflow_id(name), task_queue=TASK_QUEUE, id_conflict_policy="terminate_existing"
    )


async def installing(adding: WorkflowHandle[AddNode, Node]) -> None:
    """Wait until the installation has begun."""

    async def begun() -> bool:
        pending = (await adding.describe()).pending_activities
        return any(one.activity_type == "install" and one.state == "started" for one in pending)

    while not await begun():
        await asyncio.sleep(0.05)


async def use(client: Client) -> None:
    alpha = await add(client, NodeSpec("alpha"))
    print(f"alpha: {(await alpha.result()).address}")
    await delete(client, "alpha")

    beta = await add(client, NodeSpec("beta", packages=FOREVER))
    await installing(beta)
    try:
        await add(client, NodeSpec("beta"))
    except WorkflowAlreadyStartedError:
        other = await client.get(workflow_id("beta"), AddNode).describe()
        print(f"beta: {other.workflow_type} is {other.status} already, and {await beta.query(AddNode.phase)}")
    await beta.cancel("not needed")
    try:
        await beta.result()
    except WorkflowFailedError as error:
        print(f"beta: {type(error.cause).__name__}")

    gamma = await add(client, NodeSpec("gamma", packages=FOREVER))
    await installing(gamma)
    await delete(client, "gamma")
    print(f"gamma: AddNode was {(await client.get(gamma.id, run_id=gamma.run_id).describe()).status}")


async def main() -> None:
    cloud = Cloud()
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[RunAddNode, RunDeleteNode], activities=cloud.activities()),
    ):
        await use(client)
    print(f"left over: {sorted(cloud.machines)}")


if __name__ == "__main__":
    asyncio.run(main())
