"""One server for all tests that only need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .running import dev_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an `odradek dev` on sample.py."""
    with dev_server(tmp_path_factory.mktemp("shared") / "data") as (_, address):
        yield address
