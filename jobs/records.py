"""A job's record: made by the app, moved along by whoever holds its current attempt.

The record is the truth that clients see. Every change is one Lua script or one transaction, so that no
reader sees half of it and a process that dies leaves a whole record. Each change that watchers should hear
of appends its event in the same breath.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

from jobs import keys
from jobs.schema import Canceled, Contract, Done, EventType, Failed, Frame, JobSpec, Queued, Status
from jobs.work import ALWAYS, MEANWHILE, Ahead, Work

# A write counts only for the attempt that the record names, and only until the job has ended: a worker thought
# dead cannot overwrite its successor, and nothing follows a terminal event. Returns 1 where the write was made.
_FENCED = """
local held = redis.call('HMGET', KEYS[1], 'attempt', 'status')
if held[2] ~= 'running' or held[1] ~= ARGV[1] then return 0 end
"""
_EMIT = """
local function emit(type, data)
  redis.call('XADD', KEYS[2], '*', 'type', type, 'data', data)
  redis.call('PUBLISH', NEWS, ARGV[#ARGV])
end
""".replace("NEWS", repr(keys.NEWS))

_BEGIN = (
    _EMIT
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if status ~= 'queued' and status ~= 'running' then return {0, 0} end
if status == 'running' then redis.call('HINCRBY', KEYS[1], 'crashes', 1) end
local attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HSET', KEYS[1], 'status', 'running')
redis.call('ZREM', KEYS[3], ARGV[#ARGV])
redis.call('HSETNX', KEYS[1], 'started_at', ARGV[1])
emit('started', '{"attempt":' .. attempt .. '}')
return {attempt, tonumber(redis.call('HGET', KEYS[1], 'crashes') or 0)}
"""
)
# Images only move forward: a second attempt shows what the first did not come to, however its waves are cut.
_FRAME = (
    _EMIT
    + _FENCED
    + """
local first, count, step = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local shown = {}
for position = first, first + count - 1 do shown[#shown + 1] = 'shown:' .. position end
for _, at in ipairs(redis.call('HMGET', KEYS[1], unpack(shown))) do
  if at and tonumber(at) >= step then return 1 end
end
for _, position in ipairs(shown) do redis.call('HSET', KEYS[1], position, step) end
emit('frame', ARGV[5])
return 1
"""
)
_PROGRESS = (
    _FENCED
    + """
redis.call('HSET', KEYS[1], 'steps_done', ARGV[2])
return 1
"""
)
_STORE = (
    _FENCED
    + """
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'images_done', redis.call('HLEN', KEYS[2]))
return 1
"""
)
_SAVE = (
    _FENCED
    + """
redis.call('DEL', KEYS[2])
for i = 2, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
return 1
"""
)
_PUT_BACK = (
    _FENCED
    + """
redis.call('HSET', KEYS[1], 'status', 'queued')
redis.call('ZADD', KEYS[2], redis.call('HGET', KEYS[1], 'order') or 0, ARGV[2])
return 1
"""
)
# Ends a job: by its attempt, or from outside (attempt ''), whatever it is doing.
_END = (
    _EMIT
    + """
local held = redis.call('HMGET', KEYS[1], 'attempt', 'status')
if held[2] ~= 'queued' and held[2] ~= 'running' then return 0 end
if ARGV[1] ~= '' and (held[2] ~= 'running' or held[1] ~= ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'error', ARGV[3], 'ended_at', ARGV[4])
redis.call('ZREM', KEYS[3], ARGV[#ARGV])
redis.call('ZREM', KEYS[6], ARGV[#ARGV])
redis.call('DEL', KEYS[5])
redis.call('HINCRBY', KEYS[4], 'jobs:' .. ARGV[2], 1)
redis.call('HINCRBY', KEYS[4], 'images', redis.call('HGET', KEYS[1], 'images_done') or 0)
emit(ARGV[5], ARGV[6])
return 1
"""
)
_FIELDS = (*ALWAYS, *MEANWHILE)
# The queue in one pass: the first ARGV[1] waiting jobs, and what waits before each of the orders ARGV[2] …, which rise:
# how many jobs, and each model's work.
_BACKLOG = (
    """
local waiting = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local first, ahead, row_steps, jobs = {}, {}, {}, 0
local function note_until(order)
  while ARGV[#ahead + 2] and tonumber(ARGV[#ahead + 2]) <= order do
    local place = {jobs}
    for model, steps in pairs(row_steps) do
      place[#place + 1] = model
      place[#place + 1] = string.format('%.0f', steps)
    end
    ahead[#ahead + 1] = place
  end
end
for i = 1, #waiting, 2 do
  note_until(tonumber(waiting[i + 1]))
  local fields = redis.call('HMGET', JOB .. waiting[i], FIELDS)
  if #first < tonumber(ARGV[1]) and fields[1] then
    first[#first + 1] = {waiting[i], unpack(fields, 1, FIELD_COUNT)}
  end
  if fields[1] then row_steps[fields[1]] = (row_steps[fields[1]] or 0) + tonumber(fields[5]) end
  jobs = jobs + 1
end
note_until(math.huge)
return {first, ahead}
""".replace("JOB", repr(keys.job("")))
    .replace("FIELD_COUNT", str(len(_FIELDS)))
    .replace("FIELDS", ", ".join(map(repr, _FIELDS)))
)
DETAILED = 128  # waiting jobs that forecasts simulate one by one

LATER = 1e10  # than any time of creation: jobs of the class `batch` wait behind all others


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A job's record as it was read."""

    id: str
    spec: JobSpec
    status: Status
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempt: int
    crashes: int  # attempts whose worker died
    steps_done: int
    images_done: int
    error: str | None

    @classmethod
    def new(cls, job_id: str, spec: JobSpec) -> Record:
        """What `Records.create` writes."""
        return cls(
            id=job_id,
            spec=spec,
            status=Status.QUEUED,
            created_at=time.time(),
            started_at=None,
            ended_at=None,
            attempt=0,
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
        """Its place among those that wait: by class, then by age."""
        return self.created_at + (LATER if self.spec.priority == "batch" else 0.0)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A worker's hold on a job."""

    job_id: str
    number: int
    crashes: int


class Records:
    """Reads and moves records."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._begin = redis.register_script(_BEGIN)
        self._frame = redis.register_script(_FRAME)
        self._progress = redis.register_script(_PROGRESS)
        self._store = redis.register_script(_STORE)
        self._save = redis.register_script(_SAVE)
        self._put_back = redis.register_script(_PUT_BACK)
        self._end = redis.register_script(_END)
        self._backlog = redis.register_script(_BACKLOG)

    def create(self, record: Record, queued: Queued, pipeline: Pipeline) -> None:
        """Adds a new record and its `queued` event to a transaction."""
        spec, work = record.spec.model_dump_json(), record.work
        fields = {"spec": spec, "status": record.status.value, "created_at": record.created_at, "order": record.order}
        # What others need to know of it, so that nobody reads the specs of all that wait or run.
        fields |= {name: getattr(work, name) for name in ALWAYS}
        pipeline.hset(keys.job(record.id), mapping=fields)
        pipeline.zadd(keys.WAITING, {record.id: record.order})
        pipeline.zadd(keys.JOBS, {record.id: record.created_at})
        pipeline.zadd(keys.ACTIVE, {record.id: record.created_at})
        pipeline.xadd(keys.events(record.id), {"type": EventType.QUEUED.value, "data": queued.model_dump_json()})

    def get(self, job_id: str) -> Record | None:
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: list[str]) -> list[Record | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in job_ids:
            pipeline.hgetall(keys.job(job_id))
        return [_parse(job_id, fields) for job_id, fields in zip(job_ids, pipeline.execute(), strict=True)]

    def active(self) -> list[Record]:
        """Every job not yet ended, oldest first."""
        ids = [job_id.decode() for job_id in self._redis.zrange(keys.ACTIVE, 0, -1)]
        return [record for record in self.get_many(ids) if record is not None and not record.status.ended]

    def running(self) -> list[Work]:
        """The work of every job that has begun and not ended."""
        ids = [job_id.decode() for job_id in self._redis.zdiff([keys.ACTIVE, keys.WAITING])]
        pipeline = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipeline.hmget(keys.job(job_id), "status", *ALWAYS, *MEANWHILE)
        found = zip(ids, pipeline.execute(), strict=True)
        return [Work.read(job_id, fields) for job_id, (status, *fields) in found if status == b"running"]

    def waiting(self) -> int:
        """How many jobs wait."""
        return int(self._redis.zcard(keys.WAITING))

    def interactive_waits(self) -> bool:
        """Whether the job that waits first is of the class `interactive`."""
        return int(self._redis.zcount(keys.WAITING, "-inf", f"({LATER}")) > 0

    def backlog(self, orders: Sequence[float]) -> tuple[list[Work], list[Ahead]]:
        """The first waiting jobs, and what waits before each of these orders, which need not be of waiting jobs."""
        rising = sorted(orders)
        first, ahead = self._backlog(keys=[keys.WAITING], args=[DETAILED, *map(repr, rising)])
        places = {order: _ahead(*place) for order, place in zip(rising, ahead, strict=True)}
        works = [Work.read(job_id.decode(), fields) for job_id, *fields in first]
        return works, [places[order] for order in orders]

    def page(self, cursor: str | None, limit: int) -> tuple[list[Record], str | None]:
        """Newest first, and the cursor of the next page. A cursor is the last job's `created_at:id`."""
        start = 0 if cursor is None else self._rank_after(cursor)
        found = self._redis.zrevrange(keys.JOBS, start, start + limit, withscores=True)  # one more than the page
        ids = [(job_id.decode(), created_at) for job_id, created_at in found[:limit]]
        records = [record for record in self.get_many([job_id for job_id, _ in ids]) if record is not None]
        return records, f"{ids[-1][1]!r}:{ids[-1][0]}" if len(found) > limit else None

    def _rank_after(self, cursor: str) -> int:
        """Where the page after a cursor begins, also if the cursor's job has been forgotten meanwhile."""
        created_at, _, job_id = cursor.partition(":")
        rank = self._redis.zrevrank(keys.JOBS, job_id)
        return int(self._redis.zcount(keys.JOBS, f"({created_at}", "+inf")) if rank is None else int(rank) + 1

    # What follows is for the worker that holds the attempt; False says that it no longer does.

    def begin(self, job_id: str) -> Attempt | None:
        """Takes the job; None where it has ended or is not there."""
        job = [keys.job(job_id), keys.events(job_id), keys.WAITING]
        number, crashes = self._begin(keys=job, args=[time.time(), job_id])
        return Attempt(job_id, number, crashes) if number else None

    def frame(self, attempt: Attempt, frame: Frame) -> bool:
        args = [attempt.number, frame.first, len(frame.images), frame.step, frame.model_dump_json(), attempt.job_id]
        return bool(self._frame(keys=[keys.job(attempt.job_id), keys.events(attempt.job_id)], args=args))

    def progress(self, attempt: Attempt, steps_done: int) -> bool:
        return bool(self._progress(keys=[keys.job(attempt.job_id)], args=[attempt.number, steps_done]))

    def store(self, attempt: Attempt, images: dict[int, bytes]) -> bool:
        """Puts finished images, by position in the job."""
        pairs: list[Any] = [value for pair in images.items() for value in pair]
        job = [keys.job(attempt.job_id), keys.images(attempt.job_id)]
        return bool(self._store(keys=job, args=[attempt.number, *pairs]))

    def save(self, attempt: Attempt, build: str, chunks: list[bytes]) -> bool:
        """Keeps what has been begun, in place of what was kept before; it can be gone on with on the same build."""
        job = [keys.job(attempt.job_id), keys.state(attempt.job_id)]
        return bool(self._save(keys=job, args=[attempt.number, build, *chunks]))

    def saved(self, job_id: str, build: str) -> list[bytes]:
        """What was last kept of a job on this build."""
        there, *chunks = self._redis.lrange(keys.state(job_id), 0, -1) or [b""]
        return chunks if there == build.encode() else []

    def put_back(self, attempt: Attempt) -> bool:
        """The worker stops: the job waits again, and no crash is counted."""
        job = [keys.job(attempt.job_id), keys.WAITING]
        return bool(self._put_back(keys=job, args=[attempt.number, attempt.job_id]))

    def finish(self, attempt: Attempt, done: Done) -> bool:
        return self._ended(attempt.job_id, str(attempt.number), Status.FINISHED, "", EventType.DONE, done)

    def lost(self, attempts: list[Attempt]) -> list[Attempt]:
        """Which of these attempts no longer hold their job: it has ended, or another attempt has it."""
        pipeline = self._redis.pipeline(transaction=False)
        for attempt in attempts:
            pipeline.hmget(keys.job(attempt.job_id), "attempt", "status")
        held = [[str(attempt.number).encode(), b"running"] for attempt in attempts]
        found = zip(attempts, pipeline.execute(), held, strict=True)
        return [attempt for attempt, fields, ours in found if fields != ours]

    # And these for anyone: False says that the job had ended already, or is not there.

    def fail(self, job_id: str, reason: str, attempt: Attempt | None = None) -> bool:
        number = "" if attempt is None else str(attempt.number)
        return self._ended(job_id, number, Status.FAILED, reason, EventType.FAILED, Failed(reason=reason))

    def cancel(self, job_id: str) -> bool:
        return self._ended(job_id, "", Status.CANCELED, "", EventType.CANCELED, Canceled())

    def _ended(self, job_id: str, attempt: str, status: Status, error: str, event: EventType, data: Contract) -> bool:
        job = [keys.job(job_id), keys.events(job_id), keys.ACTIVE, keys.TOTALS, keys.state(job_id), keys.WAITING]
        args = [attempt, status.value, error, time.time(), event.value, data.model_dump_json(), job_id]
        return bool(self._end(keys=job, args=args))


def _ahead(jobs: int, *work: bytes) -> Ahead:
    """From one of the script's replies: a count, then models and their row-steps in turn."""
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
        crashes=int(fields.get(b"crashes", 0)),
        steps_done=int(fields.get(b"steps_done", 0)),
        images_done=int(fields.get(b"images_done", 0)),
        error=fields[b"error"].decode() if fields.get(b"error") else None,
    )
