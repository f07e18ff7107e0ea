"""The worker: consumers of task topics, the cache of running workflows, activities, and sessions.

The cores (`chain`, `offsets`, `intake`, `cache`, `session`, `steps`, `history`, `workflow_tasks`, `queries`,
`heartbeats`, `activities`) have no threads, clocks or sockets of their own; `consumer`, `workflow_worker`,
`activity_worker`, `activity_runner`, `timers`, `threads` and `worker` put them to work.
"""

from .worker import Worker

__all__ = ["Worker"]
