"""Where attempts run: what an executor must do, with the laws that it is held to."""

from __future__ import annotations

from typing import Protocol, TypeVar

TaskT = TypeVar("TaskT", contravariant=True)
OutcomeT = TypeVar("OutcomeT", covariant=True)


class Executor(Protocol[TaskT, OutcomeT]):
    """Runs attempts at steps. The engine decides which, when, and what becomes of them.

    Laws:

    1. ``run`` returns, or raises, when the attempt is over. The workers of a run call it side by
       side, as many as it has jobs; an executor makes none of its own accord, and none twice.
    2. It touches nothing that a reader can see: what comes back lies staged, and the run's own
       process publishes it. An attempt whose outcome is not heard of any more leaves only what a
       sweep of its run removes.
    3. An error comes back as what it was: an AssetsError with the user's exception as its cause,
       the traceback kept (as text, in ``remote_traceback``, where frames can't travel). When what
       ran the attempt is gone, WorkerDiedError is raised, and other attempts go on.
    4. What an attempt prints and logs belongs to it, also where its worker died.
    5. Where it loads the definitions anew, it refuses with PlanMovedError what they would build
       with other code than the run was planned with: it would be recorded as the planned.
    6. After ``stop`` nothing of it is at work; it is called once, also when attempts are under way.
    """

    def run(self, task: TaskT) -> OutcomeT:
        """One attempt, made up to the point of publishing."""

    def stop(self) -> None:
        """End what is at work, whatever it does."""
