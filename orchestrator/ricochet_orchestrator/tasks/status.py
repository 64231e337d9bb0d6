"""Statuses of a task, and what Task Master calls them.

Its words map one to one to ours, but for `pending`, which is both *pending* and *ready* (which of
them is worked out from dependencies), and `review`, which has no twin here and is *paused*.
"""

from enum import StrEnum
from typing import Final


class TaskStatus(StrEnum):
    """`pending` waits for others, `ready` does not; see `dependencies.settle`."""

    PENDING = "pending"
    READY = "ready"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    PAUSED = "paused"
    CANCELLED = "cancelled"


TO_TASKMASTER: Final = {
    TaskStatus.PENDING: "pending",
    TaskStatus.READY: "pending",
    TaskStatus.RUNNING: "in-progress",
    TaskStatus.COMPLETED: "done",
    TaskStatus.FAILED: "blocked",
    TaskStatus.PAUSED: "deferred",
    TaskStatus.CANCELLED: "cancelled",
}
FROM_TASKMASTER: Final = {
    "pending": TaskStatus.PENDING,
    "in-progress": TaskStatus.RUNNING,
    "done": TaskStatus.COMPLETED,
    "blocked": TaskStatus.FAILED,
    "deferred": TaskStatus.PAUSED,
    "cancelled": TaskStatus.CANCELLED,
    "review": TaskStatus.PAUSED,
}
WAITING: Final = frozenset({TaskStatus.PENDING, TaskStatus.READY})
PRIORITIES: Final = ("critical", "high", "medium", "low")
"""Most urgent first."""
