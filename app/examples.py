"""Examples in the OpenAPI document; a test validates each against its schema."""

from __future__ import annotations

from typing import Any

JOB_ID = "0f8c2b1d9e7a4c35b6d80e1f2a3b4c5d"
JOB = f"/jobs/{JOB_ID}"

REQUESTS: dict[str, Any] = {
    "defaults": {"summary": "One image with every default", "value": {}},
    "classes": {
        "summary": "Ten images, each of another class",
        "value": {"model": "mnist", "count": 10, "seed": 7, "label": "cycle"},
    },
    "fast": {
        "summary": "Few steps of a fast sampler",
        "value": {"model": "mnist", "count": 16, "steps": 10, "sampler": "dpmpp_2m", "guidance_scale": 2.0},
    },
}

QUEUED_JOB: dict[str, Any] = {
    "id": JOB_ID,
    "status": "queued",
    "position": 0,
    "eta_seconds": 1.4,
    "request": {
        "model": "mnist",
        "digest": "9b1f6b0d7c1f4f2f8e5f5f0c0d8f5b8a9e7d6c5b4a39281706f5e4d3c2b1a090",
        "count": 2,
        "first_index": 0,
        "seed": 7,
        "steps": 50,
        "sampler": "dpmpp_2m",
        "spacing": "trailing",
        "eta": None,
        "thresholding": "static",
        "start": 1000,
        "image": None,
        "labels": [3, 3],
        "null_class": 10,
        "guidance_scale": 1.5,
        "frames": 20,
        "priority": "interactive",
    },
    "progress": {"images_done": 0, "images": 2, "steps_done": 0, "steps": 100},
    "attempt": 0,
    "build": None,
    "error": None,
    "created_at": 1763647200.25,
    "started_at": None,
    "ended_at": None,
    "urls": {"job": JOB, "events": f"{JOB}/events", "images": [], "grid": None, "process": None, "archive": None},
}

FINISHED_JOB: dict[str, Any] = QUEUED_JOB | {
    "status": "finished",
    "position": None,
    "eta_seconds": None,
    "progress": {"images_done": 2, "images": 2, "steps_done": 100, "steps": 100},
    "attempt": 1,
    "build": "noisemill 0.2.0 torch 2.14.1 cpu x86_64 bfloat16 compiled",
    "started_at": 1763647200.31,
    "ended_at": 1763647201.72,
    "urls": {
        "job": JOB,
        "events": f"{JOB}/events",
        "images": [f"{JOB}/images/0.png", f"{JOB}/images/1.png"],
        "grid": f"{JOB}/grid.png",
        "process": f"{JOB}/process.gif",
        "archive": f"{JOB}/images.zip",
    },
}

CANCELED_JOB: dict[str, Any] = QUEUED_JOB | {
    "status": "canceled",
    "position": None,
    "eta_seconds": None,
    "ended_at": 1763647200.98,
}

EVENTS = (
    'event: queued\ndata: {"position":0,"eta_seconds":1.4}\nid: 1763647200250-0\n\n'
    'event: started\ndata: {"attempt":1}\nid: 1763647200310-0\n\n'
    'event: done\ndata: {"images":2,"seconds":1.41}\nid: 1763647201720-0\n\n'
)


def json_example(value: Any) -> dict[str, Any]:
    """The `content` of a response with this example."""
    return {"application/json": {"example": value}}
