"""The RQ adapter: a subclass of RQ's SimpleWorker, and the only module of the worker that uses RQ's internals.

RQ's loop passes one job to `execute_job`, which takes further jobs while the batch has room for them, and returns when
the batch is empty. RQ's loop also handles signals, burst mode and suspension.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

import structlog
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError
from rq import Queue, SimpleWorker
from rq.exceptions import InvalidJobOperation
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended
from rq.utils import now
from rq.worker import WorkerStatus

from jobs.queue import payload, rq_queue
from jobs.records import Records
from jobs.schema import Status
from jobs.store import RedisStore
from worker.catalog import Catalog
from worker.sampling.arbiter import POLL_SECONDS
from worker.sampling.batch import Batch

log = structlog.get_logger()

EXECUTION_TTL_SECONDS = 8  # without a heartbeat for this long, another worker retries the job; RQ's default is minutes
MAINTENANCE_SECONDS = 2  # seconds between two maintenance runs
WORKER_TTL_SECONDS = 17  # RQ waits for a job for 15 s less, in one blocking command


class StopWhilePreparing(BaseException):
    """Raised by the signal handler to abort a compilation. Not an Exception: the compiler would catch one."""


def generate(spec: str) -> None:
    """The function that RQ's jobs name. A BatchWorker runs a job without calling it."""
    raise RuntimeError("this job needs a Noisemill worker: start one with `noisemill worker`")


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that RQ has given to this worker."""

    job: Job
    execution: Execution


class BatchWorker(SimpleWorker):
    """Runs every job of one queue through a shared batch."""

    def __init__(self, connection: Redis, catalog: Catalog, *, name: str) -> None:
        super().__init__(
            [rq_queue(connection)],
            name=name,
            connection=connection,
            serializer=JSONSerializer,
            maintenance_interval=MAINTENANCE_SECONDS,
            worker_ttl=WORKER_TTL_SECONDS,
        )
        self._records = Records(connection)
        self.batch = Batch(self._records, RedisStore(connection), catalog)
        self._claims: dict[str, Claim] = {}
        self._claims_lock = threading.Lock()  # the main thread writes _claims, the heartbeat thread reads it
        self._suspended = False
        self._last_poll = 0.0

    @property
    def stopped_on_request(self) -> bool:
        """Whether `work` returned because of a signal."""
        return self._shutdown_requested_date is not None

    def prepare_all(self) -> None:
        """Prepares all models; stops early if a job waits."""
        self.batch.arbiter.prepare_all(lambda: self._records.waiting() > 0)

    # Called by RQ

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs this job and all that join it; returns when the batch is empty."""
        try:
            self._run(job)
        except StopWhilePreparing:
            pass  # all jobs have been put back
        except (ConnectionError, TimeoutError):
            raise  # nothing can be put back without Redis; once Redis is back, RQ retries the jobs
        except Exception as error:
            log.exception("worker failed, putting its jobs back")
            self._put_back_all(error)
            raise
        self.set_state(WorkerStatus.IDLE)

    def get_heartbeat_ttl(self, job: Job) -> int:
        return EXECUTION_TTL_SECONDS

    def run_maintenance_tasks(self) -> None:
        # If a worker is killed while it holds RQ's lock, the lock would last 15 minutes and block all retries.
        for queue in self.queues:
            if self.connection.ttl(queue.registry_cleaning_key) > EXECUTION_TTL_SECONDS:
                self.connection.expire(queue.registry_cleaning_key, EXECUTION_TTL_SECONDS)
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """The handler of SIGINT and SIGTERM. Aborts a compilation, which the loop would otherwise wait for."""
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        if self.batch.arbiter.is_preparing:
            self._put_back_all()
            raise StopWhilePreparing

    def beat(self) -> None:
        """Reports this worker and its jobs as alive. Also called from the heartbeat thread."""
        if self.birth_date is None:  # RQ has not registered the worker yet
            return
        with self._claims_lock:
            claims = list(self._claims.values())
        with self.connection.pipeline() as pipeline:
            self.heartbeat(EXECUTION_TTL_SECONDS + 60, pipeline=pipeline)
            for claim in claims:
                registry = claim.job.started_job_registry
                claim.execution.heartbeat(registry, EXECUTION_TTL_SECONDS, pipeline=pipeline)
            pipeline.execute()

    # Taking jobs

    def _run(self, job: Job) -> None:
        self._take(job)
        while self._claims:
            if self._stop_requested:
                self._put_back_all()
                return
            self._take_more()
            self.batch.advance()
            self._release_finished()
            if self.should_run_maintenance_tasks:
                self.beat()  # first, so that after an outage maintenance does not treat our own jobs as abandoned
                self.run_maintenance_tasks()

    def _take_more(self) -> None:
        """Takes waiting jobs while there is room, unless `rq suspend` forbids it."""
        if time.monotonic() - self._last_poll > POLL_SECONDS:
            self._last_poll, self._suspended = time.monotonic(), bool(is_suspended(self.connection))
        while not self._suspended and self.batch.has_room():
            found = Queue.dequeue_any(self.queues, None, connection=self.connection, serializer=JSONSerializer)
            if found is None:
                return
            self._take(found[0])

    def _take(self, job: Job) -> None:
        job.data = payload(job.id)  # RQ reads the function's name from it; an earlier version may have pickled it
        self.prepare_execution(job)
        # RQ would use `self.execution` for every job that it ends, such as the stuck jobs that maintenance ends.
        execution, self.execution = self.execution, None
        assert execution is not None
        self.prepare_job_execution(job, remove_from_intermediate_queue=True)
        job.started_at = now()
        with self._claims_lock:
            self._claims[job.id] = Claim(job, execution)
        self.batch.add(job.id)
        self._release_finished()

    # Releasing jobs

    def _release_finished(self) -> None:
        for job_id in self.batch.pop_finished():
            self._release(job_id)

    def _release(self, job_id: str) -> None:
        """Tells RQ how a job has ended. If it has not, another attempt holds it, and only our execution is deleted."""
        with self._claims_lock:
            claim = self._claims.pop(job_id)
        job, record = claim.job, self._records.get(job_id)
        job.ended_at = now()
        if record is not None and record.status is Status.FINISHED:
            self.execution = claim.execution
            self.handle_job_success(job, self.queues[0], job.started_job_registry)
        elif record is not None and record.status is Status.FAILED:
            job.retries_left, self.execution = 0, claim.execution
            self.handle_job_failure(job, self.queues[0], exc_string=record.error or "")
        else:
            with self.connection.pipeline() as pipeline:
                claim.execution.delete(job=job, pipeline=pipeline)
                pipeline.execute()
            if record is None or record.status is Status.CANCELED:
                self._cancel(job)

    def _cancel(self, job: Job) -> None:
        # job.cancel() would look up every execution of the job, and raise for that of a dead worker.
        self.connection.delete(job.execution_registry.key)
        with suppress(InvalidJobOperation):  # already canceled or removed
            job.cancel()

    def _put_back_all(self, error: Exception | None = None) -> None:
        """Requeues every job at the front of the queue, in order, without spending a retry.

        error  of this worker, if it is the reason
        """
        self.batch.flush()
        self._release_finished()
        for job_id in reversed(list(self._claims)):
            if not self.batch.put_back(job_id, error):
                self._release(job_id)
                continue
            with self._claims_lock:
                claim = self._claims.pop(job_id)
            with self.connection.pipeline() as pipeline:
                # In this order: `enqueue_job` starts a transaction, for which the pipeline must be empty.
                self.queues[0].enqueue_job(claim.job, pipeline=pipeline, at_front=True)
                claim.execution.delete(job=claim.job, pipeline=pipeline)
                pipeline.execute()
            log.info("job put back", job=job_id)
