"""Tools for the project's tasks, in the working folder's `.ricochet/tasks.json`."""

import time
from pathlib import Path
from typing import Annotated, Final, Literal

from mcp.types import CallToolResult
from pydantic import Field

from ricochet_cli.mcp_server.outputs import (
    NextTaskOut,
    StartedOut,
    TaskAddedOut,
    TasksChangedOut,
    TasksOut,
)
from ricochet_cli.mcp_server.replies import told
from ricochet_cli.mcp_server.run_views import run_out
from ricochet_cli.mcp_server.task_views import details_out, details_text, task_line, task_out

Tag = Annotated[str | None, Field(description="Which tag. [default: the current one]")]
Status = Literal["pending", "ready", "running", "completed", "failed", "paused", "cancelled"]
MOST: Final = 500


class TaskTools:
    """Bound to a home, whose subscription pays for ratings."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def list_tasks(
        self,
        status: Annotated[Status | None, Field(description="Only those of this status.")] = None,
        view: Annotated[
            Literal["all", "ready", "blocked"],
            Field(description="ready: what can be begun; blocked: what waits for others."),
        ] = "all",
        with_subtasks: Annotated[bool, Field(description="List subtasks too.")] = False,
        limit: Annotated[int, Field(ge=1, le=MOST, description="How many, at most.")] = 100,
        tag: Tag = None,
    ) -> Annotated[CallToolResult, TasksOut]:
        """List the project's tasks, with status, priority, complexity and what each waits for."""
        from ricochet_orchestrator.tasks import dependencies, task_file, views
        from ricochet_orchestrator.tasks.status import TaskStatus

        book = task_file.load(Path.cwd())
        tasks = book.tasks(tag)
        wanted = None if status is None else TaskStatus(status)
        found = views.listed(tasks, wanted, view, with_subtasks)
        waits = dependencies.unmet(tasks)
        rows = [task_out(one, waits[one.ref]) for one in found[:limit]]
        lines = [task_line(one) for one in rows] or ["No such tasks."]
        if len(found) > limit:
            lines.append(f"{len(found) - limit} more.")
        out = TasksOut(tag=tag or book.current, total=len(found), tasks=rows)
        return told("\n".join(lines), out)

    def next_task(self, tag: Tag = None) -> Annotated[CallToolResult, NextTaskOut]:
        """Show the task to work on next, with its texts: nothing unfinished before it, the most
        urgent first. Set its status to running when work on it begins."""
        from ricochet_orchestrator.tasks import choosing, dependencies, task_file

        book = task_file.load(Path.cwd())
        tasks = book.tasks(tag)
        found = choosing.next_task(tasks)
        name = tag or book.current
        if found is None:
            text = "Nothing can be begun: list_tasks with view=blocked shows what waits."
            return told(text, NextTaskOut(tag=name, task=None))
        out = details_out(found, dependencies.unmet(tasks)[found.ref])
        return told(details_text(out), NextTaskOut(tag=name, task=out))

    def set_task_status(
        self,
        tasks: Annotated[
            list[str], Field(min_length=1, description="7 is a task, 7.2 its subtask 2.")
        ],
        status: Status,
        tag: Tag = None,
    ) -> Annotated[CallToolResult, TasksChangedOut]:
        """Set the status of tasks. A completed task completes its subtasks; pending and ready are
        one: which of them it is follows from what the task waits for."""
        from ricochet_orchestrator.tasks import editing, task_file
        from ricochet_orchestrator.tasks.status import TaskStatus

        with task_file.changing(Path.cwd()) as book:
            changed = editing.set_status(book.tasks(tag), tasks, TaskStatus(status), time.time())
        text = f"Changed: {', '.join(changed) or 'nothing'}."
        return told(text, TasksChangedOut(changed=changed))

    def add_task(
        self,
        title: Annotated[str, Field(description="What is to be done.")],
        description: Annotated[str | None, Field(description="In a sentence or two.")] = None,
        details: Annotated[str | None, Field(description="How it is to be done.")] = None,
        test_strategy: Annotated[
            str | None, Field(description="How one sees that it is done.")
        ] = None,
        priority: Literal["critical", "high", "medium", "low"] | None = None,
        dependencies: Annotated[
            list[str] | None, Field(description="Tasks that it waits for.")
        ] = None,
        parent: Annotated[
            str | None, Field(description="The task of which it is a subtask.")
        ] = None,
        tag: Tag = None,
    ) -> Annotated[CallToolResult, TaskAddedOut]:
        """Add a task to the project, or with `parent` a subtask. Returns its id."""
        from ricochet_orchestrator.tasks import editing, task_file

        fields = editing.Fields(
            title=title,
            description=description,
            details=details,
            test_strategy=test_strategy,
            priority=priority,
        )
        with task_file.changing(Path.cwd()) as book:
            ref = editing.add(book.tasks(tag), fields, time.time(), parent, dependencies or ())
        return told(f"Added task {ref}.", TaskAddedOut(added=ref))

    def analyze_complexity(
        self,
        tasks: Annotated[
            list[str] | None, Field(description="Tasks to rate. [default: all that are open]")
        ] = None,
        max_cost: Annotated[
            str | None, Field(description='Dollars that this never passes, such as "0.10".')
        ] = None,
        tag: Tag = None,
    ) -> Annotated[CallToolResult, StartedOut]:
        """Let the analyzer's model rate how complex tasks are. Starts a run and returns its id at
        once; it costs money of the user's subscription. When monitor_chain shows it completed,
        list_tasks has the ratings."""
        from ricochet_cli.run_commands import amount
        from ricochet_orchestrator.app import enter_run
        from ricochet_orchestrator.tasks import decomposing, rating_worker, task_file

        cap = None if max_cost is None else amount(max_cost)
        project = Path.cwd()
        name = tag or task_file.load(project).current
        order = rating_worker.Order(project, name, tuple(tasks or ()), cap)
        run = enter_run(self._home, decomposing.analysis(order.project, name, order.refs, cap))
        rating_worker.start(self._home, run.id, order)
        lines = [
            f"Run {run.id} rates the tasks. Follow it with monitor_chain;",
            "once it is completed, list_tasks has the ratings.",
        ]
        return told("\n".join(lines), StartedOut(run=run_out(run), estimate=None, skipped=[]))
