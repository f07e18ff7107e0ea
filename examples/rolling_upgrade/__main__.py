"""One deployment: begins a payment, and ends those of the deployment before.

python -m examples.rolling_upgrade v1
python -m examples.rolling_upgrade v2
python -m examples.rolling_upgrade v3
"""

import asyncio
import os
import sys

from odradek import Client, Worker, WorkflowHandle

from . import v1, v2, v3
from .activities import charge, check_for_fraud, send_receipt

TASK_QUEUE = "payments"
DEPLOYMENTS: dict[str, type[v1.Payment] | type[v2.Payment] | type[v3.Payment]] = {
    "v1": v1.Payment,
    "v2": v2.Payment,
    "v3": v3.Payment,
}


async def charged(payment: WorkflowHandle[v1.Payment, list[str]]) -> None:
    """Wait until a payment is past its charge, and waits for the goods."""
    while not any(
        event.type == "ActivityScheduled" and event.attributes["activity_type"] == "charge"
        for event in await payment.history()
    ):
        await asyncio.sleep(0.05)


async def main(version: str) -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[DEPLOYMENTS[version]],
            activities=[charge, check_for_fraud, send_receipt],
        ),
    ):
        payment = await client.start(v1.Payment, 1299, id=f"payment-{version}", task_queue=TASK_QUEUE)
        await charged(payment)
        print(f"payment-{version} has begun")
        for earlier in DEPLOYMENTS:
            if earlier < version:
                before = client.get(f"payment-{earlier}", v1.Payment)
                if (await before.describe()).status == "running":
                    await before.signal(v1.Payment.arrived)
                    print(f"payment-{earlier}, ended by {version}: {', '.join(await before.result())}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
