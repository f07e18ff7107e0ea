"""File processing: all steps of a file on one host."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from odradek import WorkflowFailedError, activity
from odradek.testing import Environment

from examples.file_processing import Fetched, Host, process_file

from .recording import recorded


async def test_the_steps_of_a_file_run_where_it_is(tmp_path: Path) -> None:
    host = Host("host-a", tmp_path)
    queues: list[str] = []

    def process(path: str) -> str:
        queues.append(activity.info().task_queue)
        return host.process.fn(path)

    def upload(path: str) -> int:
        queues.append(activity.info().task_queue)
        return host.upload.fn(path)

    activities = [host.fetch, host.process.with_fn(process), host.upload.with_fn(upload)]
    async with Environment(workflows=[process_file], activities=activities) as env:
        file = await env.client.start(process_file, "numbers.txt", id="f")
        assert await file.result() == 15
        await recorded(file, "file_processing-one-host")
    assert queues == ["host-a", "host-a"]
    assert (tmp_path / "numbers.sum").read_text() == "15"


@pytest.mark.parametrize(("gone", "outcome"), [(1, 7), (2, 7), (3, None)])
async def test_a_host_that_is_away_is_replaced_by_another_with_which_the_file_begins_again(
    gone: int, outcome: int | None
) -> None:
    fetches = 0

    def fetch(file: str) -> Fetched:
        nonlocal fetches
        fetches += 1
        return Fetched(file, f"host-{fetches}")

    activities = {Host.fetch: fetch, Host.process: lambda path: path, Host.upload: lambda path: 7}
    away = [f"host-{number}" for number in range(1, gone + 1)]
    async with Environment(workflows=[process_file], activities=activities, away=away) as env:
        began = env.now()
        file = await env.client.start(process_file, "numbers.txt", id="f")
        if outcome is None:
            with pytest.raises(WorkflowFailedError, match="three hosts went away"):
                await file.result()
        else:
            assert await file.result() == outcome
        assert env.now() - began >= gone * timedelta(minutes=1)
        await recorded(file, f"file_processing-{gone}-away")
    assert fetches == min(gone + 1, 3)
