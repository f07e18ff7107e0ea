"""Encrypted payloads: client and worker have the key, the log and the engine never see what the workflow is about.

python examples/encrypted.py
"""

import asyncio
import hashlib
import os
from dataclasses import dataclass
from datetime import timedelta

from odradek import AESGCMCodec, Client, CodecError, DataConverter, Worker, activity, workflow

TASK_QUEUE = "prescriptions"
KEY = hashlib.sha256(b"stands for a secret from your vault").digest()
converter = DataConverter(codec=AESGCMCodec({"2026-11": KEY}))


@dataclass(frozen=True)
class Prescription:
    patient: str
    drug: str


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def send_to_pharmacy(prescription: Prescription) -> str:
    return f"{prescription.drug} is ready for {prescription.patient}"


@workflow.define
async def prescribe(prescription: Prescription) -> str:
    return await send_to_pharmacy(prescription)


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data"), data_converter=converter) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[prescribe], activities=[send_to_pharmacy]),
    ):
        prescription = await client.start(
            prescribe, Prescription("Ada", "aspirin"), id="prescription-1", task_queue=TASK_QUEUE
        )
        print(f"with the key: {await prescription.result()}")
        encoded = converter.to_payload("aspirin")
        print(
            f"in the log: {encoded.metadata['encoding'].decode()}, key {encoded.metadata['encryption-key-id'].decode()}"
        )
        try:
            DataConverter().from_payload(encoded, str)
        except CodecError as error:
            print(f"without the key: {error}")


if __name__ == "__main__":
    asyncio.run(main())
