"""Hello: one workflow, one activity, everything in this process.

    python examples/hello.py Ada

Or leave the process running, and start workflows from another terminal:

    odradek dev examples/hello.py
    odradek workflow execute greet --id hello-ada --input '"Ada"'
"""

import asyncio
import os
import sys

from odradek import Client, Worker, activity, workflow


@activity.define
async def compose(greeting: str, name: str) -> str:
    return f"{greeting}, {name}!"


@workflow.define
async def greet(name: str) -> str:
    return await compose("Hello", name)


async def main(name: str) -> None:
    # Opening the folder starts the engine. A workflow that the last run of this program left open goes on.
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue="hello", workflows=[greet], activities=[compose]),
    ):
        greeting = await client.execute(
            greet, name, id=f"hello-{name}", task_queue="hello", id_conflict_policy="use_existing"
        )
        print(greeting)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "world"))
