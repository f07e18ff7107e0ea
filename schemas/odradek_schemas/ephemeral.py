"""What changes no state, so that it stays out of `events`: reads and heartbeats. Kept an hour.

`barrier`: answer only once `events` is folded up to this offset; -1: up to its end when the leader reads this.
"""

from __future__ import annotations

from .common import Payload, Record, Request


class QueryWorkflow(Record, frozen=True):
    workflow_id: str
    query: str
    request: Request
    run_id: str = ""
    input: list[Payload] = []
    headers: dict[str, Payload] = {}
    barrier: int = -1


class AwaitResult(Record, frozen=True):
    """Answered when the run closes, and before that with status `running` once it is known."""

    workflow_id: str
    request: Request
    run_id: str = ""
    barrier: int = -1


class DescribeWorkflow(Record, frozen=True):
    workflow_id: str
    request: Request
    run_id: str = ""
    barrier: int = -1


class FetchHistory(Record, frozen=True):
    workflow_id: str
    request: Request
    run_id: str = ""
    from_event_id: int = 1
    barrier: int = -1


class DescribeBuilds(Record, frozen=True):
    """Ask one partition which builds of a task queue it knows, and what still needs them."""

    task_queue: str
    request: Request
    barrier: int = -1


class ListRuns(Record, frozen=True):
    """Ask one partition for the newest run of each workflow ID, in the order of the IDs, from behind `after`.

    Empty: any. `status`: as of a description. `stuck`: only open runs whose code cannot advance, or that are paused.
    """

    request: Request
    workflow_type: str = ""
    status: str = ""
    stuck: bool = False
    after: str = ""
    barrier: int = -1


class WorkerHeartbeat(Record, frozen=True):
    """A worker session lives, and polls these queues.

    `free_activities`: how many more activities it could begin; `activity_partitions`: of its activity queue, those
    that it has. Leaders hand it what waits elsewhere. `leaving`: the session has ended, nothing polls any more.
    """

    session: str
    workflow_queues: list[str] = []
    activity_queues: list[str] = []
    client_id: str = ""
    lost_after_ms: int = 10_000
    free_activities: int = 0
    activity_partitions: list[int] = []
    build_id: str = ""
    leaving: bool = False


class EngineAlive(Record, frozen=True):
    """An engine lives, and knows fold versions up to this one; with or without partitions to lead.

    `holds`: those that it leads, or is to lead; `standbys`: how many engines shall stand by for each, as it was told;
    `leaving`: it leads none any more, and stops.
    """

    member: str
    version: int = 1
    holds: list[int] = []
    standbys: int = 0
    leaving: bool = False


class ActivityHeartbeat(Record, frozen=True):
    workflow_id: str
    run_id: str
    scheduled_by: str
    seq: int
    attempt: int
    session: str
    details: list[Payload] = []


class HeartbeatActivity(Record, frozen=True):
    """An activity that is completed by its task token is alive. Answered with `HeartbeatNoted`."""

    workflow_id: str
    task_token: bytes
    request: Request
    details: list[Payload] = []
    barrier: int = -1
