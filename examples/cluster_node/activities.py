"""The activities behind the contracts. A `Cloud` stands for the world: machines that are there, and who joined."""

import asyncio

from odradek import ApplicationError, activity

from . import contracts
from .contracts import Node, NodeSpec


class Cloud:
    """`machines`: names and what is installed on them. `seconds_per_package`: how slow an installation is."""

    def __init__(self, seconds_per_package: float = 0.05) -> None:
        self.machines: dict[str, int] = {}
        self.installing: set[str] = set()
        self.joined: set[str] = set()
        self.seconds_per_package = seconds_per_package

    async def create_machine(self, spec: NodeSpec) -> Node:
        self.machines.setdefault(spec.name, 0)
        print(f"[{spec.name}] machine created", flush=True)
        return Node(spec.name, f"{spec.name}.cluster.example")

    async def install(self, node: Node, packages: int) -> int:
        done: int = activity.info().heartbeat_details[0] if activity.info().heartbeat_details else 0
        self.installing.add(node.name)
        try:
            while done < packages:
                await asyncio.sleep(self.seconds_per_package)
                done += 1
                self.machines[node.name] = done
                activity.heartbeat(done)
        except asyncio.CancelledError:  # the workflow was cancelled, or it has ended without us
            self.machines[node.name] = 0
            print(f"[{node.name}] installation stopped", flush=True)
            raise
        finally:
            self.installing.discard(node.name)
        print(f"[{node.name}] {done} packages installed", flush=True)
        return done

    async def join_cluster(self, node: Node) -> None:
        self.joined.add(node.name)
        print(f"[{node.name}] has joined the cluster", flush=True)

    async def leave_cluster(self, name: str) -> None:
        if name in self.joined:
            self.joined.discard(name)
            print(f"[{name}] has left the cluster", flush=True)

    async def delete_machine(self, name: str) -> None:
        if name in self.installing:
            raise ApplicationError(f"{name} is busy, something is being installed")
        if self.machines.pop(name, None) is not None:
            print(f"[{name}] machine deleted", flush=True)

    def activities(self) -> list[activity.Activity[..., object]]:
        """What a worker is to run behind the contracts."""
        return [
            contracts.create_machine.with_fn(self.create_machine),
            contracts.install.with_fn(self.install),
            contracts.join_cluster.with_fn(self.join_cluster),
            contracts.leave_cluster.with_fn(self.leave_cluster),
            contracts.delete_machine.with_fn(self.delete_machine),
        ]
