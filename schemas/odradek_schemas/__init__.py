"""Odradek's contract: the records of every topic, their encoding, and the topics' names.

    from odradek_schemas import decode, encode, records
    data = encode(records.StartWorkflow(workflow_id="order-42", workflow_type="Order", task_queue="orders"))

Imports nothing of the other packages.
"""

from . import commands, ephemeral, history, records, replies, tasks
from .codec import DecodeError, class_of, decode, encode, to_json
from .common import Failure, Payload, Position, Record, Request, RetryPolicy
from .handwritten import json_payload
from .identity import ActivityIdentity, idempotency_key, parse_task_token, task_token
from .partitioning import murmur2, partition_of
from .topics import InvalidNameError, Topics, check_name

__all__ = [
    "ActivityIdentity",
    "DecodeError",
    "Failure",
    "InvalidNameError",
    "Payload",
    "Position",
    "Record",
    "Request",
    "RetryPolicy",
    "Topics",
    "check_name",
    "commands",
    "class_of",
    "decode",
    "encode",
    "ephemeral",
    "history",
    "idempotency_key",
    "json_payload",
    "murmur2",
    "parse_task_token",
    "partition_of",
    "records",
    "replies",
    "task_token",
    "tasks",
    "to_json",
]
