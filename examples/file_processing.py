"""File processing: fetch, process and upload on one host, by a task queue of its own; if the host is gone, on another.

python examples/file_processing.py host-a --crash     the host goes down while it processes
python examples/file_processing.py host-b             another host begins again with the file
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from odradek import ActivityTimeoutError, ApplicationError, Client, Worker, activity, workflow

TASK_QUEUE = "files"


@dataclass(frozen=True)
class Fetched:
    """A file in the folder of a host. Only the workers of `queue` can read it."""

    path: str
    queue: str


class Host:
    """The activities of one host, which share its folder."""

    def __init__(self, name: str, folder: Path, crash: bool = False) -> None:
        self.name = name
        self.folder = folder
        self.crash = crash

    def say(self, text: str) -> None:
        print(f"[{self.name}] {text}", flush=True)

    @activity.define(start_to_close_timeout=timedelta(minutes=10))
    def fetch(self, file: str) -> Fetched:
        path = self.folder / file
        path.write_text("3 5 7")  # stands for a download
        self.say(f"{file} fetched")
        return Fetched(str(path), queue=self.name)

    @activity.define(start_to_close_timeout=timedelta(minutes=10))
    def process(self, path: str) -> str:
        numbers = [int(word) for word in Path(path).read_text().split()]
        if self.crash:
            time.sleep(2)  # it is in the middle of its work
            self.say("the host goes down")
            os.kill(os.getpid(), signal.SIGKILL)
        result = Path(path).with_suffix(".sum")
        result.write_text(str(sum(numbers)))
        self.say(f"{Path(path).name} processed")
        return str(result)

    @activity.define(start_to_close_timeout=timedelta(minutes=10))
    def upload(self, path: str) -> int:
        self.say(f"{Path(path).name} uploaded")
        return int(Path(path).read_text())


@workflow.define
async def process_file(file: str, patience: timedelta = timedelta(minutes=1)) -> int:
    """`patience`: how long a host may be away before the file is begun again elsewhere."""
    for _ in range(3):
        fetched = await Host.fetch(file)  # by whichever host has a free slot
        try:
            result = await Host.process.with_options(task_queue=fetched.queue, schedule_to_start_timeout=patience)(
                fetched.path
            )
            return await Host.upload.with_options(task_queue=fetched.queue, schedule_to_start_timeout=patience)(result)
        except ActivityTimeoutError as timeout:
            workflow.logger.warning("host %s is away: %s", fetched.queue, timeout)
    raise ApplicationError(f"three hosts went away with {file}")


async def main(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Host(name, Path(folder), crash="--crash" in sys.argv)
        async with (
            Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
            Worker(client, task_queue=TASK_QUEUE, workflows=[process_file], activities=[host.fetch], lost_after=5),
            Worker(client, task_queue=name, activities=[host.process, host.upload], lost_after=5),
        ):
            numbers = await client.start(
                process_file,
                "numbers.txt",
                timedelta(seconds=5),
                id="numbers",
                task_queue=TASK_QUEUE,
                id_conflict_policy="use_existing",
            )
            print(f"the sum is {await numbers.result()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "host-a"))
