"""A job's record: changes are atomic, fenced by the attempt, and end once."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import WatchError

from jobs import keys
from jobs.records import Attempt, Record, Records
from jobs.schema import Frame, Queued, Status
from tests.jobs.factories import frame, queued, running, spec
from tests.jobs.record_helpers import DONE, ENDS, WRITES, begun, everything, existing, kinds


def test_new_record_reads_back_equal(redis: Redis, records: Records) -> None:
    record = queued(redis)
    assert records.get(record.id) == record
    assert records.active_ids() == [record.id]
    assert kinds(redis, record.id) == ["queued"]


def test_create_writes_nothing_unless_its_transaction_succeeds(redis: Redis, records: Records) -> None:
    record = Record.new("a" * 32, spec())
    with redis.pipeline() as pipeline:
        pipeline.watch("other")
        pipeline.multi()
        records.create(record, Queued(position=0, eta_seconds=None), pipeline)
        assert everything(redis) == {}
        redis.set("other", "changed")
        with pytest.raises(WatchError):
            pipeline.execute()
    assert list(everything(redis)) == [b"other"]


def test_unknown_job_is_none(records: Records) -> None:
    assert records.get("f" * 32) is None
    assert records.begin("f" * 32) is None
    assert not records.cancel("f" * 32)
    assert not records.fail("f" * 32, "reason")


def test_writes_to_an_unknown_job_create_nothing(redis: Redis, records: Records) -> None:
    for write in [*WRITES.values(), *ENDS.values()]:
        assert not write(records, Attempt("f" * 32, 1, 0))
    assert everything(redis) == {}


def test_begin_numbers_attempts_and_counts_a_running_job_as_crashed(redis: Redis, records: Records) -> None:
    job = queued(redis).id
    first = begun(records, job)
    second = begun(records, job)
    assert (first.number, first.crashes) == (1, 0)
    assert (second.number, second.crashes) == (2, 1)
    record = existing(records, job)
    assert (record.status, record.attempt, record.crashes) == (Status.RUNNING, 2, 1)
    assert kinds(redis, job) == ["queued", "started", "started"]


def test_put_back_queues_again_without_counting_a_crash(redis: Redis, records: Records) -> None:
    first = running(redis)
    assert records.put_back(first)
    assert existing(records, first.job_id).status is Status.QUEUED
    again = begun(records, first.job_id)
    assert (again.number, again.crashes) == (2, 0)


def test_started_at_is_of_the_first_attempt(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    started_at = existing(records, attempt.job_id).started_at
    begun(records, attempt.job_id)
    assert existing(records, attempt.job_id).started_at == started_at is not None


def test_progress_and_stored_images_are_counted(redis: Redis, records: Records) -> None:
    attempt = running(redis, count=4, steps=10, labels=[4, 4, 4, 4])
    assert records.progress(attempt, 25)
    assert records.store(attempt, {0: b"a", 2: b"c"})
    assert records.store(attempt, {2: b"c again"})
    record = existing(records, attempt.job_id)
    assert (record.steps_done, record.images_done) == (25, 2)
    assert record.work.row_steps_left == pytest.approx(15)


def test_saved_state_is_read_by_the_same_build_until_the_end(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    assert records.saved(attempt.job_id, "this") == []
    records.save(attempt, "this", [b"a", b"b"])
    records.save(attempt, "this", [b"c"])
    assert records.saved(attempt.job_id, "this") == [b"c"]
    assert records.saved(attempt.job_id, "another") == []
    records.finish(attempt, DONE)
    assert not redis.exists(keys.state(attempt.job_id))


def test_frames_ascend_in_each_wave(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    for step, first in [(2, 0), (4, 0), (2, 8), (2, 0), (4, 0), (3, 8), (6, 0)]:
        assert records.frame(attempt, frame(attempt, step, first))
    shown = [
        Frame.model_validate_json(fields[b"data"])
        for _, fields in redis.xrange(keys.events(attempt.job_id))
        if fields[b"type"] == b"frame"
    ]
    assert [(each.step, each.first) for each in shown] == [(2, 0), (4, 0), (2, 8), (3, 8), (6, 0)]


def test_second_attempt_shows_later_frames_only(redis: Redis, records: Records) -> None:
    first = running(redis)
    assert records.frame(first, frame(first, step=5))
    second = begun(records, first.job_id)
    for step in range(4, 8):
        assert records.frame(second, frame(second, step))
    assert kinds(redis, first.job_id) == ["queued", "started", "frame", "started", "frame", "frame"]


def test_frames_ascend_for_each_image_when_waves_differ(redis: Redis, records: Records) -> None:
    pictures = ["iVBORw0KGgo="] * 3
    first = running(redis)
    assert records.frame(first, frame(first, step=5, images=pictures))
    second = begun(records, first.job_id)
    for step in (4, 6):
        assert records.frame(second, frame(second, step, images=pictures[:2]))
        assert records.frame(second, frame(second, step, first=2, images=pictures[:1]))
    assert kinds(redis, first.job_id) == ["queued", "started", "frame", "started", "frame", "frame"]


def test_begin_pins_the_build_and_the_same_build_keeps_images_and_state(redis: Redis, records: Records) -> None:
    job = queued(redis).id
    assert existing(records, job).build is None
    first = begun(records, job, "this")
    records.store(first, {0: b"a"})
    records.save(first, "this", [b"chunk"])
    records.progress(first, 12)
    second = begun(records, job, "this")
    assert second.replaced_build is None
    record = existing(records, job)
    assert (record.build, record.images_done, record.steps_done) == ("this", 1, 12)
    assert records.saved(job, "this") == [b"chunk"]


def test_begin_on_another_build_deletes_images_state_and_counters(redis: Redis, records: Records) -> None:
    job = queued(redis).id
    first = begun(records, job, "this")
    records.store(first, {0: b"a"})
    records.save(first, "this", [b"chunk"])
    records.progress(first, 12)
    records.frame(first, frame(first, step=5))
    records.put_back(first)
    second = begun(records, job, "other")
    assert second.replaced_build == "this"
    record = existing(records, job)
    assert (record.build, record.images_done, record.steps_done) == ("other", 0, 0)
    assert not redis.exists(keys.images(job), keys.state(job))
    records.frame(second, frame(second, step=4))
    assert kinds(redis, job).count("frame") == 1, "frames do not step back"


def test_begin_of_a_record_without_a_build_starts_anew_if_it_had_begun(redis: Redis, records: Records) -> None:
    """An earlier version wrote such records."""
    attempt = running(redis)
    records.store(attempt, {0: b"a"})
    assert existing(records, attempt.job_id).build is None
    assert begun(records, attempt.job_id, "this").replaced_build == "unknown"
    assert existing(records, attempt.job_id).images_done == 0


def test_worker_that_cannot_run_a_job_does_not_change_its_build(redis: Redis, records: Records) -> None:
    job = queued(redis).id
    records.store(begun(records, job, "this"), {0: b"a"})
    assert begun(records, job, None).replaced_build is None
    record = existing(records, job)
    assert (record.build, record.images_done) == ("this", 1)
