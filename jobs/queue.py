"""The adapter to RQ for all code but the worker: enqueueing, canceling, and reconciling RQ's jobs with records.

RQ's jobs are serialized as JSON. Nothing is unpickled from Redis: a job that an earlier version queued is run by its
id, and its pickled payload is not read.
"""

from __future__ import annotations

import json
from contextlib import suppress
from enum import Enum, auto

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from jobs import keys
from jobs.records import BATCH_ORDER_OFFSET, Record

RETRIES = 4  # maximum number of attempts after the first; one is spent each time a worker dies

# Moves the last job of the queue ahead of the first job of the class `batch`. A worker may just have taken that job
# from the queue, so the next ones are tried.
_OVERTAKE = """
for _, behind in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf', 'LIMIT', 0, 16)) do
  if redis.call('LINSERT', KEYS[1], 'BEFORE', behind, ARGV[1]) > 0 then
    redis.call('LREM', KEYS[1], -1, ARGV[1])
    return
  end
end
"""
# Requeues jobs whose RQ status is queued or started, but that are in neither queue and have no execution. RQ and the
# worker move jobs between these three in transactions, so a job that a worker is just taking is in one of them.
_REQUEUE_LOST = """
local located = {}
for i = 1, 2 do
  for _, id in ipairs(redis.call('LRANGE', KEYS[i], 0, -1)) do located[id] = true end
end
for _, execution in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  located[string.match(execution, '^[^:]*')] = true
end
local lost = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local status = redis.call('HGET', ARGV[1] .. id, 'status')
  if not located[id] and (status == 'started' or status == 'queued') then
    redis.call('HSET', ARGV[1] .. id, 'status', 'queued')
    redis.call('LPUSH', KEYS[1], id)
    lost[#lost + 1] = id
  end
end
return lost
"""


class RQState(Enum):
    """What RQ will do with a job that has not ended."""

    PENDING = auto()  # the job runs, or will run
    GIVEN_UP = auto()  # the job's retries are used up, or an operator stopped the job in RQ
    REMOVED = auto()  # RQ has no such job


def rq_queue(redis: Redis) -> Queue:
    return Queue(keys.QUEUE, connection=redis, serializer=JSONSerializer)


def payload(job_id: str) -> bytes:
    """What RQ calls for a job, as its JSONSerializer writes it."""
    return json.dumps((keys.FUNCTION, None, [job_id], {})).encode()


def enqueue(redis: Redis, record: Record, keep_seconds: int, pipeline: Pipeline) -> None:
    """Adds the RQ job of a new record to a transaction; interactive jobs go before those of the class `batch`."""
    queue = rq_queue(redis)
    queue.enqueue_call(
        keys.FUNCTION,
        args=(record.id,),
        job_id=record.id,
        timeout=-1,  # no limit: a missing heartbeat reveals a dead worker
        result_ttl=keep_seconds,
        failure_ttl=keep_seconds,
        retry=Retry(max=RETRIES, enqueue_at_front=True),
        description=f"{record.spec.count} of {record.spec.model}",
        pipeline=pipeline,
    )
    if record.spec.priority == "interactive":
        pipeline.eval(_OVERTAKE, 2, queue.key, keys.WAITING, record.id, BATCH_ORDER_OFFSET)


def cancel(redis: Redis, job_id: str) -> None:
    """Removes a waiting job from the queue. The worker of a running job polls the record and ends the job itself."""
    with suppress(NoSuchJobError, InvalidJobOperation):
        job = Job.fetch(job_id, redis, serializer=JSONSerializer)
        if job.is_queued:
            job.cancel()


def states(redis: Redis, job_ids: list[str]) -> list[RQState]:
    """RQ's state of jobs that have not ended."""
    pipeline = redis.pipeline(transaction=False)
    for job_id in job_ids:
        pipeline.hget(Job.key_for(job_id), "status")
    return [_state(status) for status in pipeline.execute()]


def requeue_lost(redis: Redis, job_ids: list[str]) -> list[str]:
    """Requeues, at the front, those of these jobs that RQ has lost track of. Returns their ids."""
    queue = rq_queue(redis)
    locations = [queue.key, queue.intermediate_queue_key, queue.started_job_registry.key]
    lost = redis.eval(_REQUEUE_LOST, len(locations), *locations, Job.key_for(""), *job_ids)
    return [job_id.decode() for job_id in lost]


def delete(redis: Redis, job_ids: list[str]) -> None:
    """Deletes ended jobs from RQ, which never expires canceled ones."""
    for job in Job.fetch_many(job_ids, redis, serializer=JSONSerializer):
        if job is not None:
            redis.delete(job.execution_registry.key)  # job.delete() would raise for executions of dead workers
            job.delete()


def _state(status: bytes | None) -> RQState:
    if status is None:
        return RQState.REMOVED
    given_up = JobStatus(status.decode()) in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED)
    return RQState.GIVEN_UP if given_up else RQState.PENDING
