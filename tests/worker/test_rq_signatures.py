"""The parts of RQ that we call and override. A failure means that RQ has changed: read its changelog."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job
from rq.suspension import is_suspended
from rq.worker import WorkerStatus

from worker.sampling.batch_worker import BatchWorker

CALLED: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
    (SimpleWorker.execute_job, ("self", "job", "queue"), {}),
    (SimpleWorker.get_heartbeat_ttl, ("self", "job"), {}),
    (SimpleWorker.run_maintenance_tasks, ("self",), {}),
    (SimpleWorker.prepare_execution, ("self", "job"), {}),
    (SimpleWorker.prepare_job_execution, ("self", "job"), {"remove_from_intermediate_queue": True}),
    (SimpleWorker.handle_job_success, ("self", "job", "queue", "registry"), {}),
    (SimpleWorker.handle_job_failure, ("self", "job", "queue"), {"exc_string": "why"}),
    (SimpleWorker.heartbeat, ("self", 68), {"pipeline": None}),
    (SimpleWorker.set_state, ("self", WorkerStatus.IDLE), {}),
    (SimpleWorker.work, ("self",), {"logging_level": "WARNING", "burst": True}),
    (Queue.dequeue_any, (["queue"], None), {"connection": None, "serializer": None}),
    (Queue.enqueue_job, ("self", "job"), {"pipeline": None, "at_front": True}),
    (Execution.heartbeat, ("self", "registry", 8), {"pipeline": None}),
    (Execution.delete, ("self",), {"job": None, "pipeline": None}),
    (Job.cancel, ("self",), {}),
    (Job.fetch, ("id", "connection"), {"serializer": None}),
    (Job.fetch_many, (["id"], "connection"), {"serializer": None}),
    (is_suspended, ("connection",), {}),
]
OVERRIDDEN = ["execute_job", "get_heartbeat_ttl", "run_maintenance_tasks", "request_stop"]


@pytest.mark.parametrize(("method", "args", "kwargs"), CALLED, ids=lambda each: getattr(each, "__qualname__", ""))
def test_rq_accepts_our_arguments(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    inspect.signature(method).bind(*args, **kwargs)


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_overridden_methods_have_the_parameters_of_rq(name: str) -> None:
    ours, theirs = (list(inspect.signature(getattr(each, name)).parameters) for each in (BatchWorker, SimpleWorker))
    assert ours == theirs


def test_no_other_method_of_rq_is_overridden() -> None:
    """If a later version of RQ had a method with the name of one of ours, RQ would call ours."""
    inherited = {name for name in vars(BatchWorker) if not name.startswith("__") and hasattr(SimpleWorker, name)}
    assert inherited == set(OVERRIDDEN)


def test_attributes_of_rq_that_are_read_or_set_exist() -> None:
    """`execution` is set before each call that ends one; RQ's signal handlers set the two others."""
    source = inspect.getsource(inspect.getmodule(SimpleWorker.work))
    for name in (
        "self.execution",
        "self._stop_requested",
        "self._shutdown_requested_date",
        "self.last_cleaned_at",
        "self.birth_date",
    ):
        assert name in source
    assert isinstance(inspect.getattr_static(SimpleWorker, "should_run_maintenance_tasks"), property)
    assert isinstance(inspect.getattr_static(Queue, "registry_cleaning_key"), property)
    assert isinstance(inspect.getattr_static(Job, "execution_registry"), property)
