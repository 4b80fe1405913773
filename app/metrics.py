"""Prometheus metrics, read from Redis at each scrape, so that all app processes report the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from jobs import keys, models
from jobs.records import Records
from jobs.schema import Status
from jobs.store import RedisStore


class ServiceCollector(Collector):
    def __init__(self, redis: Redis, records: Records) -> None:
        self._redis, self._records = redis, records

    def collect(self) -> Iterator[Metric]:
        active = self._records.active_work()
        jobs = GaugeMetricFamily("noisemill_jobs_active", "Jobs not yet ended.", labels=["status"])
        statuses = Counter(status for status, _ in active)
        for status in (Status.QUEUED, Status.RUNNING):
            jobs.add_metric([status.value], statuses[status])
        yield jobs
        row_steps = sum(work.row_steps_left for _, work in active)
        yield GaugeMetricFamily("noisemill_row_steps_left", "Network evaluations of one image still to do.", row_steps)
        yield GaugeMetricFamily("noisemill_workers", "Live workers.", models.live_workers(self._redis))
        speed = GaugeMetricFamily(
            "noisemill_row_steps_per_second",
            "Network evaluations of one image a second, in full batches.",
            labels=["model"],
        )
        for model, pace in models.paces(self._redis).items():
            speed.add_metric([model], pace.batch / pace.of(pace.batch))
        yield speed
        totals = {name.decode(): float(value) for name, value in self._redis.hgetall(keys.TOTALS).items()}
        ended = CounterMetricFamily("noisemill_jobs_ended", "Jobs ended.", labels=["status"])
        for status in Status:
            if status.ended:
                ended.add_metric([status.value], totals.get(f"jobs:{status.value}", 0))
        yield ended
        yield CounterMetricFamily("noisemill_images", "Images of jobs that ended.", totals.get("images", 0))
        memory = self._redis.info("memory")["used_memory"]
        yield GaugeMetricFamily("noisemill_redis_memory_bytes", "Memory that the Redis server uses.", memory)
        jobs_memory = RedisStore(self._redis).bytes()
        yield GaugeMetricFamily("noisemill_jobs_memory_bytes", "Redis memory of jobs and their results.", jobs_memory)
