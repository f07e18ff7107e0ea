"""The identity of an activity, and what is made of it: the idempotency key and the task token.

An activity is (run ID, ID of the completion that scheduled it, sequence number) (rule W5). Attempts do
not change it.
"""

from __future__ import annotations

import base64
import json
from typing import NamedTuple

import msgspec

_NO_TOKEN = "not a task token of Odradek's"


class ActivityIdentity(NamedTuple):
    workflow_id: str
    run_id: str
    scheduled_by: str
    seq: int


def idempotency_key(run_id: str, scheduled_by: str, seq: int) -> str:
    """The same text for every attempt of one activity, and for no other activity ever."""
    return f"{run_id}/{scheduled_by}/{seq}"


def task_token(workflow_id: str, run_id: str, scheduled_by: str, seq: int) -> bytes:
    """URL-safe text that names an activity, to complete it from anywhere."""
    fields = json.dumps([workflow_id, run_id, scheduled_by, seq], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(fields).rstrip(b"=")


def parse_task_token(token: bytes) -> ActivityIdentity:
    """What `task_token` was made of. Raises ValueError for anything else."""
    try:
        workflow_id, run_id, scheduled_by, seq = msgspec.json.decode(
            base64.b64decode(token + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        )
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(_NO_TOKEN) from error
    if not (isinstance(workflow_id, str) and isinstance(run_id, str) and isinstance(scheduled_by, str)):
        raise ValueError(_NO_TOKEN)
    if not isinstance(seq, int) or isinstance(seq, bool):
        raise ValueError(_NO_TOKEN)
    return ActivityIdentity(workflow_id, run_id, scheduled_by, seq)
