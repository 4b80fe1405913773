"""Requests are validated strictly: nothing is rounded, truncated or converted."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from jobs.schema import EVENT_DATA, EventType, GenerateRequest, JobSpec, Status
from tests.jobs.factories import SPEC


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"count": true}', "count"),
        ('{"count": "3"}', "count"),
        ('{"count": 3.0}', "count"),
        ('{"count": 0}', "count"),
        ('{"count": null}', "count"),
        ('{"first_index": -1}', "first_index"),
        ('{"first_index": 4294967296}', "first_index"),
        ('{"seed": -1}', "seed"),
        ('{"seed": 18446744073709551616}', "seed"),
        ('{"seed": "7"}', "seed"),
        ('{"seed": 7.0}', "seed"),
        ('{"steps": 0}', "steps"),
        ('{"steps": 1e2}', "steps"),
        ('{"model": 1}', "model"),
        ('{"sampler": ["ddpm"]}', "sampler"),
        ('{"label": true}', "label"),
        ('{"label": 1.0}', "label"),
        ('{"labels": []}', "labels"),
        ('{"labels": "123"}', "labels"),
        ('{"guidance_scale": NaN}', "guidance_scale"),
        ('{"guidance_scale": Infinity}', "guidance_scale"),
        ('{"guidance_scale": "2"}', "guidance_scale"),
        ('{"guidance_scale": true}', "guidance_scale"),
        ('{"guidance_scale": -0.5}', "guidance_scale"),
        ('{"guidance_scale": 100.5}', "guidance_scale"),
        ('{"frames": -1}', "frames"),
        ('{"frames": 101}', "frames"),
        ('{"sede": 1}', "sede"),
    ],
)
def test_field_of_wrong_type_or_range_is_refused(body: str, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        GenerateRequest.model_validate_json(body)
    assert {error["loc"][0] for error in refused.value.errors()} == {field}
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate(json.loads(body))


def test_empty_request_is_valid() -> None:
    assert GenerateRequest.model_validate_json("{}").count == 1


def test_64_bit_seed_survives_json() -> None:
    largest = '{"seed":18446744073709551615}'
    assert GenerateRequest.model_validate_json(largest).model_dump_json(exclude_unset=True) == largest


def test_spec_survives_json_exactly() -> None:
    spec = SPEC.model_copy(update={"guidance_scale": 0.1 + 0.2, "seed": 2**64 - 1})
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_spec_is_immutable() -> None:
    with pytest.raises(ValidationError):
        SPEC.seed = 8


def test_every_event_has_data_and_terminal_events_match_statuses() -> None:
    assert set(EVENT_DATA) == set(EventType)
    assert len([kind for kind in EventType if kind.terminal]) == len([status for status in Status if status.ended]) == 3
