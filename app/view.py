"""Views of jobs, as clients receive them."""

from __future__ import annotations

from collections.abc import Sequence

from redis import Redis

from app.forecast import Forecast
from jobs.records import Record, Records
from jobs.schema import JobSpec, JobView, Progress, Status, Urls, image_digest
from jobs.store import RedisStore


def job_urls(job_id: str, positions: Sequence[int], *, finished: bool, frames: int) -> Urls:
    base = f"/jobs/{job_id}"
    return Urls(
        job=base,
        events=f"{base}/events",
        images=[f"{base}/images/{position}.png" for position in positions],
        grid=f"{base}/grid.png" if finished else None,
        process=f"{base}/process.gif" if finished and frames else None,
        archive=f"{base}/images.zip" if finished else None,
    )


def _shown(spec: JobSpec) -> JobSpec:
    """The spec for a view: a start image is replaced with its sha256."""
    return spec if spec.image is None else spec.model_copy(update={"image": image_digest(spec.image)})


class Viewer:
    """Makes views of records. One call reads the queue once and makes one forecast."""

    def __init__(self, redis: Redis, records: Records, store: RedisStore) -> None:
        self._redis, self._records, self._store = redis, records, store

    def view(self, record: Record) -> JobView:
        return self.views([record])[0]

    def views(self, records: Sequence[Record]) -> list[JobView]:
        if all(record.status.ended for record in records):
            return [self._view(record, None) for record in records]
        forecast = Forecast.now(self._redis, self._records, records)
        return [self._view(record, None if record.status.ended else forecast) for record in records]

    def _view(self, record: Record, forecast: Forecast | None) -> JobView:
        return JobView(
            id=record.id,
            status=record.status,
            position=None if forecast is None else forecast.position(record.id),
            eta_seconds=None if forecast is None else forecast.seconds(record.work),
            request=_shown(record.spec),
            progress=Progress(
                images_done=record.images_done,
                images=record.spec.count,
                steps_done=record.steps_done,
                steps=record.spec.count * record.spec.steps,
            ),
            attempt=record.attempt,
            build=record.build,
            error=record.error,
            created_at=record.created_at,
            started_at=record.started_at,
            ended_at=record.ended_at,
            urls=self._urls(record),
        )

    def _urls(self, record: Record) -> Urls:
        positions = self._store.positions(record.id) if record.images_done else []
        finished = record.status is Status.FINISHED
        return job_urls(record.id, positions, finished=finished, frames=record.spec.frames)
