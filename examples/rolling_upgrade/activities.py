"""What all versions of the workflow call."""

from datetime import timedelta

from odradek import activity


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def charge(cents: int) -> str:
    return f"charged {cents / 100:.2f}"


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def check_for_fraud(cents: int) -> str:
    return "checked"


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def send_receipt(cents: int) -> str:
    return "receipt sent"
