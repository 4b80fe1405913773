"""A real worker on a real Redis, in this process, and the state of its jobs."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import torch
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from app.settings import AppSettings
from app.submit import submit
from jobs import keys, models
from jobs.queue import rq_queue
from jobs.records import Attempt, Record, Records
from jobs.schema import GenerateRequest, Status
from jobs.store import RedisStore
from model.images import png
from worker import offline
from worker.catalog import Catalog, Model
from worker.sampling.batch_worker import BatchWorker


class WorkerHarness:
    """Submits jobs, runs workers, and inspects records, RQ and images."""

    def __init__(self, redis: Redis, redis_url: str, folder: Path) -> None:
        self.redis, self.folder = redis, folder
        self.records, self.queue = Records(redis), rq_queue(redis)
        self.catalog = Catalog(folder, device=torch.device("cpu"), slots=16, max_count=200)
        self.catalog.scan()
        models.publish(redis, "harness", self.catalog.cards, {}, alive_seconds=600)
        self._url, self._names = redis_url, itertools.count()

    def submit(self, **body: Any) -> str:
        request = GenerateRequest(**{"steps": 3, "frames": 2} | body)
        return submit(request, None, self.redis, self.records, AppSettings(redis_url=self._url)).job_id

    def worker(self) -> BatchWorker:
        own = Redis.from_url(self._url)
        return BatchWorker(own, self.catalog, name=f"worker-{next(self._names)}")

    def work(self, worker: BatchWorker | None = None) -> None:
        """Runs a worker until the queue is empty or the worker is told to stop."""
        worker = worker or self.worker()
        try:
            worker.work(burst=True, logging_level="CRITICAL")
        finally:
            worker.batch.publisher.flush()  # an interrupted worker may still be writing
            worker.connection.close()

    def record(self, job: str) -> Record:
        record = self.records.get(job)
        assert record is not None
        return record

    def rq_status(self, job: str) -> JobStatus:
        return self.rq_job(job).get_status()

    def rq_job(self, job: str) -> Job:
        return Job.fetch(job, self.redis, serializer=JSONSerializer)

    def images(self, job: str) -> list[bytes]:
        return list(RedisStore(self.redis).get_all(job).values())

    def event_types(self, job: str) -> list[str]:
        return [fields[b"type"].decode() for _, fields in self.redis.xrange(keys.events(job))]

    def last_event_id(self, job: str, event_type: str) -> tuple[int, ...]:
        """The id of a job's last event of this type, as comparable numbers."""
        ids = [id for id, fields in self.redis.xrange(keys.events(job)) if fields[b"type"] == event_type.encode()]
        return tuple(map(int, ids[-1].decode().split("-")))

    def assert_finished(self, *jobs: str) -> None:
        for job in jobs:
            record = self.record(job)
            assert (record.status, record.error) == (Status.FINISHED, None)
            assert record.images_done == record.spec.count == len(self.images(job))
            assert record.steps_done == record.spec.count * record.spec.steps
            assert self.rq_status(job) is JobStatus.FINISHED
            assert job in self.queue.finished_job_registry
            assert self.images(job) == self.expected(record)
        self.assert_queues_empty()

    def assert_queues_empty(self) -> None:
        assert self.queue.job_ids == []
        assert self.queue.intermediate_queue.get_job_ids() == []
        assert self.queue.started_job_registry.get_job_ids(cleanup=False) == []
        assert self.records.active_ids() == []

    def expected(self, record: Record) -> list[bytes]:
        """The PNGs of the request, sampled without a service."""
        model = self.catalog.get(record.spec.model)
        assert model is not None
        return sampled_pngs(model, record)

    def build(self, job: str) -> str:
        model = self.catalog.get(self.record(job).spec.model)
        assert model is not None
        return model.network.build

    def crash_worker_on(self, job: str) -> Attempt:
        """A worker takes this job, which must be the next in the queue, and dies; its execution expires."""
        worker = self.worker()
        found = Queue.dequeue_any([self.queue], None, connection=worker.connection, serializer=JSONSerializer)
        assert found is not None
        assert found[0].id == job
        execution = worker.prepare_execution(found[0])
        worker.prepare_job_execution(found[0], remove_from_intermediate_queue=True)
        attempt = self.records.begin(job, self.build(job))
        assert attempt is not None
        self.redis.zadd(self.queue.started_job_registry.key, {execution.composite_key: time.time() - 1})
        self.redis.delete(execution.key)
        worker.connection.close()
        return attempt


def sampled_pngs(model: Model, record: Record) -> list[bytes]:
    pixels = offline.sample(model, record.spec)
    return [png(image, record.spec.recipe(i, model.network.build)) for i, image in enumerate(pixels)]
