"""The one seam to RQ: jobs are queued and canceled here, and names of RQ stay inside this module."""

from __future__ import annotations

from contextlib import suppress

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job

from jobs import keys
from jobs.records import LATER, Record

RETRIES = 4  # runs after the first, each after a worker died

# Moves the job that was queued last before those of the class `batch`. One that a worker is just taking is no longer in
# the queue, so the next ones are tried.
_OVERTAKE = """
for _, behind in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf', 'LIMIT', 0, 16)) do
  if redis.call('LINSERT', KEYS[1], 'BEFORE', behind, ARGV[1]) > 0 then
    redis.call('LREM', KEYS[1], -1, ARGV[1])
    return
  end
end
"""


def enqueue(redis: Redis, record: Record, keep_seconds: int, pipeline: Pipeline) -> None:
    """Adds the RQ job of a new record to a transaction; interactive jobs go before those of the class `batch`."""
    queue = Queue(keys.QUEUE, connection=redis)
    queue.enqueue_call(
        keys.FUNCTION,
        args=(record.id,),
        job_id=record.id,
        timeout=-1,  # no limit: a dead worker is noticed by its missing heartbeat
        result_ttl=keep_seconds,
        failure_ttl=keep_seconds,
        retry=Retry(max=RETRIES, enqueue_at_front=True),
        description=f"{record.spec.count} of {record.spec.model}",
        pipeline=pipeline,
    )
    if record.spec.priority == "interactive":
        pipeline.eval(_OVERTAKE, 2, queue.key, keys.WAITING, record.id, LATER)


def cancel(redis: Redis, job_id: str) -> None:
    """Takes a waiting job out of the queue; a running one is ended by its worker, which sees its record change."""
    with suppress(NoSuchJobError, InvalidJobOperation):
        job = Job.fetch(job_id, redis)
        if job.is_queued:
            job.cancel()
