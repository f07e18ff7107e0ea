"""The whole system, once on the embedded log and once on a real Apache Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from .system import System, system_on


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["embedded", "kafka"])
async def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    folder: Path = tmp_path_factory.mktemp("system")
    if request.param == "kafka":
        target = f"kafka://{request.getfixturevalue('kafka_bootstrap')}"
    else:
        target = f"file:{folder / 'log'}"
    async with system_on(target, folder / "state") as system:
        yield system
