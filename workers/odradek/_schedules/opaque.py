"""The converter of what schedules know: without a codec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odradek_schemas.common import Payload

from .._converter import DataConverter


class OpaqueConverter(DataConverter):
    """Without a codec; payloads are passed on as they are, whoever wrote them."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        written = super().to_payloads
        return [value if isinstance(value, Payload) else written([value])[0] for value in values]

    def to_payload(self, value: Any) -> Payload:
        return self.to_payloads([value])[0]
