"""images.zip: complete, streamed, and readable without seeking."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile

import httpx
from redis import Redis

from app import archive
from jobs import keys
from jobs.records import Records
from jobs.schema import Done
from tests.app.http_helpers import assert_problem
from tests.app.test_results import finished, png
from tests.jobs.factories import running


def test_archive_holds_every_image_and_the_request(http: httpx.Client, redis: Redis) -> None:
    images = [png(10 * i) for i in range(12)]
    job = finished(redis, images).job_id
    response = http.get(f"/jobs/{job}/images.zip")
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == f'attachment; filename="{job}.zip"'
    with zipfile.ZipFile(io.BytesIO(response.content)) as opened:
        assert opened.testzip() is None
        names = [f"{i:05d}.png" for i in range(12)]
        assert opened.namelist() == [*names, "job.json"]
        assert [opened.read(name) for name in names] == images
        assert json.loads(opened.read("job.json")) == http.get(f"/jobs/{job}").json()["request"]
    assert http.get(f"/jobs/{job}/images.zip").content == response.content


def test_archive_of_4096_images_is_complete(http: httpx.Client, redis: Redis) -> None:
    images = [b"%05d" % i * 100 for i in range(4096)]
    job = finished(redis, images).job_id
    with zipfile.ZipFile(io.BytesIO(http.get(f"/jobs/{job}/images.zip").content)) as opened:
        assert opened.testzip() is None
        assert [opened.read(f"{i:05d}.png") for i in range(4096)] == images


def test_archive_stream_holds_one_chunk_in_memory() -> None:
    files = ((f"{i:05d}.png", bytes(50_000)) for i in range(2000))  # 100 MB in all
    tracemalloc.start()
    sizes = [len(chunk) for chunk in archive.stream(files, 1.7e9)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) > 2000 * 50_000
    assert max(sizes) < 1 << 18, "the directory at the end is the largest"
    assert peak < 4 << 20


def test_archive_entries_have_their_size_and_checksum_in_front() -> None:
    """Readers of a stream, which cannot see the directory at the end, need both (APPNOTE.TXT, section 4.4.4)."""
    whole = b"".join(archive.stream([("a.png", b"x" * 100_000), ("b.png", b"yz")], 1.7e9))
    entries = zipfile.ZipFile(io.BytesIO(whole)).infolist()
    for entry in entries:
        flags, method = struct.unpack_from("<HH", whole, entry.header_offset + 6)
        crc, packed, size = struct.unpack_from("<III", whole, entry.header_offset + 14)
        assert (flags & 8, method) == (0, zipfile.ZIP_STORED)
        assert (crc, packed, size) == (entry.CRC, entry.file_size, entry.file_size)


def test_archive_of_a_deleted_job_is_404(http: httpx.Client, redis: Redis) -> None:
    """A job's images are deleted with its record, possibly between two reads of this request."""
    job = finished(redis, [png(1)]).job_id
    redis.delete(keys.images(job))
    for name in ("images.zip", "grid.png", "process.gif"):
        assert_problem(http.get(f"/jobs/{job}/{name}"), 404)


def test_head_of_results_reads_no_image(http: httpx.Client, redis: Redis) -> None:
    attempt, records = running(redis, count=2), Records(redis)
    records.store(attempt, {0: png(1), 1: png(2)})
    records.finish(attempt, Done(images=2, seconds=1.0))
    redis.config_resetstat()
    for name, media_type in {
        "images.zip": "application/zip",
        "grid.png": "image/png",
        "process.gif": "image/gif",
    }.items():
        head = http.head(f"/jobs/{attempt.job_id}/{name}")
        assert (head.status_code, head.headers["content-type"], head.content) == (200, media_type, b"")
        assert "content-length" not in head.headers, "it would be that of an empty body"
    assert not {"cmdstat_hget", "cmdstat_xrange"} & redis.info("commandstats").keys()
