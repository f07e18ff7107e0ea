"""What is encrypted is nowhere in the log; who has no key reads nothing."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from odradek import CodecError
from odradek.testing import Environment, replay

from examples.encrypted import Prescription, converter, prescribe, send_to_pharmacy

from .recording import HISTORIES, recorded


def payloads(value: Any) -> list[dict[str, Any]]:
    """All payloads in a history."""
    if isinstance(value, list):
        return [found for one in value for found in payloads(one)]
    if not isinstance(value, dict):
        return []
    found = [value] if {"metadata", "data"} <= value.keys() else []
    return found + [inner for one in value.values() for inner in payloads(one)]


async def test_payloads_in_history_are_encrypted() -> None:
    async with Environment(workflows=[prescribe], activities=[send_to_pharmacy], data_converter=converter) as env:
        prescription = await env.client.start(prescribe, Prescription("Ada", "aspirin"), id="p")
        assert await prescription.result() == "aspirin is ready for Ada"
        await recorded(prescription, "encrypted-prescription")
        found = payloads(json.loads(await prescription.export()))
    assert len(found) >= 4  # the input and the result, of the workflow and of its activity
    for payload in found:
        assert b64decode(payload["metadata"]["encoding"]) == b"binary/encrypted"
        assert b"aspirin" not in b64decode(payload["data"])


def test_a_history_replays_only_with_the_key() -> None:
    history = (HISTORIES / "encrypted-prescription.json").read_text()
    replay(history, workflows=[prescribe], data_converter=converter)
    with pytest.raises(Exception) as raised:
        replay(history, workflows=[prescribe])
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, CodecError):
        error = error.__cause__
    assert error is not None
