"""A job's record: created by the app, changed by the worker that holds its current attempt.

Clients see the record, not RQ's job. Every change is one Lua script or one transaction, so a process that dies leaves
a consistent record. A change that watchers follow appends its event in the same script.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

from jobs import keys, scripts
from jobs.schema import Canceled, Contract, Done, EventType, Failed, Frame, JobSpec, Queued, Status
from jobs.work import CONSTANT_FIELDS, PROGRESS_FIELDS, Ahead, Work

MAX_SIMULATED_JOBS = 128  # maximum number of waiting jobs that forecasts simulate one by one
BATCH_ORDER_OFFSET = 1e10  # seconds, more than any creation time: sorts jobs of the class `batch` behind all others


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A snapshot of a job's record."""

    id: str
    spec: JobSpec
    status: Status
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempt: int
    build: str | None  # software and hardware that compute its images; None until the first attempt
    crashes: int  # number of attempts whose worker died
    steps_done: int
    images_done: int
    error: str | None

    @classmethod
    def new(cls, job_id: str, spec: JobSpec) -> Record:
        """A queued job, for `Records.create`."""
        return cls(
            id=job_id,
            spec=spec,
            status=Status.QUEUED,
            created_at=time.time(),
            started_at=None,
            ended_at=None,
            attempt=0,
            build=None,
            crashes=0,
            steps_done=0,
            images_done=0,
            error=None,
        )

    @property
    def work(self) -> Work:
        spec = self.spec
        return Work(
            job_id=self.id,
            model=spec.model,
            priority=spec.priority,
            images=spec.count,
            steps=spec.steps,
            row_steps=spec.row_steps,
            steps_done=self.steps_done,
            images_done=self.images_done,
        )

    @property
    def order(self) -> float:
        """Its sort key in the queue: by priority, then by age."""
        return self.created_at + (BATCH_ORDER_OFFSET if self.spec.priority == "batch" else 0.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker's run of a job."""

    job_id: str
    number: int
    crashes: int
    replaced_build: str | None = None  # the last attempt's build, if it differs: the job has started anew


class Records:
    """Reads and changes records."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._begin = redis.register_script(scripts.BEGIN)
        self._frame = redis.register_script(scripts.FRAME)
        self._progress = redis.register_script(scripts.PROGRESS)
        self._store = redis.register_script(scripts.STORE)
        self._save = redis.register_script(scripts.SAVE)
        self._put_back = redis.register_script(scripts.PUT_BACK)
        self._end = redis.register_script(scripts.END)
        self._backlog = redis.register_script(scripts.BACKLOG)

    def create(self, record: Record, queued: Queued, pipeline: Pipeline) -> None:
        """Adds a new record and its `queued` event to a transaction."""
        spec, work = record.spec.model_dump_json(), record.work
        fields = {"spec": spec, "status": record.status.value, "created_at": record.created_at, "order": record.order}
        # Copied from the spec, so that forecasts and metrics need not parse specs, which may hold start images.
        fields |= {name: getattr(work, name) for name in CONSTANT_FIELDS}
        pipeline.hset(keys.job(record.id), mapping=fields)
        pipeline.zadd(keys.WAITING, {record.id: record.order})
        pipeline.zadd(keys.JOBS, {record.id: record.created_at})
        pipeline.zadd(keys.ACTIVE, {record.id: record.created_at})
        pipeline.xadd(keys.events(record.id), {"type": EventType.QUEUED.value, "data": queued.model_dump_json()})
        pipeline.eval(scripts.WEIGH, 0, record.id)

    def get(self, job_id: str) -> Record | None:
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: list[str]) -> list[Record | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hgetall(keys.job(job_id))
        return [_parse(job_id, fields) for job_id, fields in zip(job_ids, pipeline.execute(), strict=True)]

    def active_ids(self) -> list[str]:
        """Jobs that have not ended, oldest first."""
        return [job_id.decode() for job_id in self._redis.zrange(keys.ACTIVE, 0, -1)]

    def active_work(self) -> list[tuple[Status, Work]]:
        """Status and work of the jobs that have not ended, oldest first."""
        ids = self.active_ids()
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hmget(keys.job(job_id), "status", *CONSTANT_FIELDS, *PROGRESS_FIELDS)
        found = zip(ids, pipeline.execute(), strict=True)
        return [
            (Status(status.decode()), Work.read(job_id, fields))
            for job_id, (status, *fields) in found
            if status in (b"queued", b"running")
        ]

    def running(self) -> list[Work]:
        """The work of every running job."""
        ids = [job_id.decode() for job_id in self._redis.zdiff([keys.ACTIVE, keys.WAITING])]
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hmget(keys.job(job_id), "status", *CONSTANT_FIELDS, *PROGRESS_FIELDS)
        found = zip(ids, pipeline.execute(), strict=True)
        return [Work.read(job_id, fields) for job_id, (status, *fields) in found if status == b"running"]

    def waiting(self) -> int:
        """Number of queued jobs."""
        return int(self._redis.zcard(keys.WAITING))

    def interactive_waits(self) -> bool:
        """Whether the first job in the queue has the priority `interactive`."""
        return int(self._redis.zcount(keys.WAITING, "-inf", f"({BATCH_ORDER_OFFSET}")) > 0

    def backlog(self, orders: Sequence[float]) -> tuple[list[Work], list[Ahead]]:
        """The first MAX_SIMULATED_JOBS waiting jobs, and the work that waits before each of `orders`.

        orders  sort keys as in `Record.order`, of jobs that need not be waiting
        """
        ascending = sorted(orders)
        first, ahead = self._backlog(keys=[keys.WAITING], args=[MAX_SIMULATED_JOBS, *map(repr, ascending)])
        places = {order: _ahead(*place) for order, place in zip(ascending, ahead, strict=True)}
        works = [Work.read(job_id.decode(), fields) for job_id, *fields in first]
        return works, [places[order] for order in orders]

    def page(self, cursor: str | None, limit: int) -> tuple[list[Record], str | None]:
        """Jobs, newest first, and the next page's cursor: `created_at:id` of this page's last job."""
        start = 0 if cursor is None else self._rank_after(cursor)
        found = self._redis.zrevrange(keys.JOBS, start, start + limit, withscores=True)  # one more than the page
        ids = [(job_id.decode(), created_at) for job_id, created_at in found[:limit]]
        records = [record for record in self.get_many([job_id for job_id, _ in ids]) if record is not None]
        return records, f"{ids[-1][1]!r}:{ids[-1][0]}" if len(found) > limit else None

    def _rank_after(self, cursor: str) -> int:
        """The rank of the page's first job. The cursor's own job may have been deleted."""
        created_at, _, job_id = cursor.partition(":")
        rank = self._redis.zrevrank(keys.JOBS, job_id)
        return int(self._redis.zcount(keys.JOBS, f"({created_at}", "+inf")) if rank is None else int(rank) + 1

    # For the worker that runs an attempt. A method returns False if the attempt no longer holds the job.

    def begin(self, job_id: str, build: str | None = None) -> Attempt | None:
        """Starts an attempt; None if the job has ended or does not exist.

        build  of this worker; None if it cannot compute the images. The job is pinned to it: images and saved state of
               another build are deleted
        """
        job = [keys.job(job_id), keys.events(job_id), keys.WAITING, keys.images(job_id), keys.state(job_id)]
        number, crashes, replaced = self._begin(keys=job, args=[time.time(), build or "", job_id])
        return Attempt(job_id, number, crashes, replaced.decode() or None) if number else None

    def frame(self, attempt: Attempt, frame: Frame) -> bool:
        args = [attempt.number, frame.first, len(frame.images), frame.step, frame.model_dump_json(), attempt.job_id]
        return bool(self._frame(keys=[keys.job(attempt.job_id), keys.events(attempt.job_id)], args=args))

    def progress(self, attempt: Attempt, steps_done: int) -> bool:
        return bool(self._progress(keys=[keys.job(attempt.job_id)], args=[attempt.number, steps_done]))

    def store(self, attempt: Attempt, images: dict[int, bytes]) -> bool:
        """Stores finished images, by position in the job."""
        pairs: list[Any] = [value for pair in images.items() for value in pair]
        job = [keys.job(attempt.job_id), keys.images(attempt.job_id)]
        return bool(self._store(keys=job, args=[attempt.number, *pairs, attempt.job_id]))

    def save(self, attempt: Attempt, build: str, chunks: list[bytes]) -> bool:
        """Replaces the saved state of unfinished images, from which a later attempt on the same build resumes."""
        job = [keys.job(attempt.job_id), keys.state(attempt.job_id)]
        return bool(self._save(keys=job, args=[attempt.number, build, *chunks, attempt.job_id]))

    def saved(self, job_id: str, build: str) -> list[bytes]:
        """The job's saved state, if this build saved it."""
        saved_on, *chunks = self._redis.lrange(keys.state(job_id), 0, -1) or [b""]
        return chunks if saved_on == build.encode() else []

    def put_back(self, attempt: Attempt, *, crashed: bool = False) -> bool:
        """Queues the job again.

        crashed  the worker ends with an error that the job may have caused
        """
        job = [keys.job(attempt.job_id), keys.WAITING]
        return bool(self._put_back(keys=job, args=[attempt.number, int(crashed), attempt.job_id]))

    def finish(self, attempt: Attempt, done: Done) -> bool:
        return self._end_job(attempt.job_id, str(attempt.number), Status.FINISHED, "", EventType.DONE, done)

    def lost(self, attempts: list[Attempt]) -> list[Attempt]:
        """The attempts that no longer hold their job: it has ended, or another attempt has begun."""
        pipeline = self._redis.pipeline(transaction=False)
        for attempt in attempts:
            pipeline.hmget(keys.job(attempt.job_id), "attempt", "status")
        holding = [[str(attempt.number).encode(), b"running"] for attempt in attempts]
        found = zip(attempts, pipeline.execute(), holding, strict=True)
        return [attempt for attempt, fields, expected in found if fields != expected]

    # For any process. A method returns False if the job has ended already or does not exist.

    def fail(self, job_id: str, reason: str, attempt: Attempt | None = None) -> bool:
        number = "" if attempt is None else str(attempt.number)
        return self._end_job(job_id, number, Status.FAILED, reason, EventType.FAILED, Failed(reason=reason))

    def cancel(self, job_id: str) -> bool:
        return self._end_job(job_id, "", Status.CANCELED, "", EventType.CANCELED, Canceled())

    def _end_job(self, job_id: str, attempt: str, status: Status, error: str, event: EventType, data: Contract) -> bool:
        job = [keys.job(job_id), keys.events(job_id), keys.ACTIVE, keys.TOTALS, keys.state(job_id), keys.WAITING]
        args = [attempt, status.value, error, time.time(), event.value, data.model_dump_json(), job_id]
        return bool(self._end(keys=job, args=args))


def _ahead(jobs: int, *work: bytes) -> Ahead:
    """Parses one entry of the BACKLOG script's reply: a count, then alternating models and row-steps."""
    models, row_steps = work[::2], work[1::2]
    return Ahead(jobs, {name.decode(): float(steps) for name, steps in zip(models, row_steps, strict=True)})


def _parse(job_id: str, fields: dict[bytes, bytes]) -> Record | None:
    if b"spec" not in fields:
        return None

    def number(name: bytes) -> float | None:
        return float(fields[name]) if name in fields else None

    return Record(
        id=job_id,
        spec=JobSpec.model_validate_json(fields[b"spec"]),
        status=Status(fields[b"status"].decode()),
        created_at=float(fields[b"created_at"]),
        started_at=number(b"started_at"),
        ended_at=number(b"ended_at"),
        attempt=int(fields.get(b"attempt", 0)),
        build=fields[b"build"].decode() if b"build" in fields else None,
        crashes=int(fields.get(b"crashes", 0)),
        steps_done=int(fields.get(b"steps_done", 0)),
        images_done=int(fields.get(b"images_done", 0)),
        error=fields[b"error"].decode() if fields.get(b"error") else None,
    )
