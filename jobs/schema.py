"""The contract between clients, app and workers: requests, specs, cards, views and events."""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

MAX_SEED = 2**64 - 1
RANDOM_SEED_BITS = 53  # integers that JavaScript represents exactly
MAX_INDEX = 2**32 - 1
MAX_GUIDANCE = 100.0
MAX_FRAMES = 100
SHOWN_IMAGES = 64  # a job's frames show its first SHOWN_IMAGES images
FRAME_BYTES = 256 * 1024  # maximum size of a frame event

UnsignedZero = AfterValidator(lambda value: value + 0.0)  # -0 gives the same bytes as 0
Eta = Annotated[float, Field(strict=True, ge=0, le=1), UnsignedZero]
Guidance = Annotated[float, Field(strict=True, ge=0, le=MAX_GUIDANCE, allow_inf_nan=False), UnsignedZero]
Label = StrictInt | StrictStr
Spacing = Literal["trailing", "leading", "linspace"]
Thresholding = Literal["static", "dynamic", "none"]
Priority = Literal["interactive", "batch"]
CYCLE = "cycle"  # label that assigns the classes in turn
TAKES_ETA = "ddim"  # the only sampler with eta


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        return self in (Status.FINISHED, Status.FAILED, Status.CANCELED)


class EventType(StrEnum):
    QUEUED = "queued"
    STARTED = "started"
    FRAME = "frame"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        return self in (EventType.DONE, EventType.FAILED, EventType.CANCELED)


class Contract(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateRequest(Contract):
    """The body of POST /generate. Defaults come from the model's card and are reported in the view."""

    model: StrictStr | None = Field(None, description="A name from GET /models; the first one by default.")
    count: StrictInt = Field(1, ge=1, description="Number of images; the card's max_count is the limit.")
    first_index: StrictInt = Field(
        0, ge=0, le=MAX_INDEX, description="Index of the first image under this seed; requests image k alone."
    )
    seed: StrictInt | None = Field(None, ge=0, le=MAX_SEED, description="Random by default, below 2^53.")
    steps: StrictInt | None = Field(
        None, ge=1, description="Network evaluations an image; the card's recommendation by default."
    )
    sampler: StrictStr | None = Field(None, description="One of the card's samplers; its recommendation by default.")
    spacing: Spacing = Field("trailing", description="How steps are spread over the schedule.")
    eta: Eta | None = Field(None, description="Noise that DDIM adds: 0 (the default) is none, 1 as much as DDPM.")
    thresholding: Thresholding | None = Field(
        None, description="Of x̂0: clipped at ±1, scaled down by its own quantile, or unchanged. The card's by default."
    )
    label: Label | None = Field(
        None, description='One class for all images, by number or by name; or "cycle": the classes in turn, by index.'
    )
    labels: list[Label] | None = Field(None, min_length=1, description="A class for each image, as many as count.")
    guidance_scale: Guidance | None = Field(
        None, description="Classifier-free guidance; 1 means none. The card's recommendation by default."
    )
    image: StrictStr | None = Field(
        None, description="An image of the model's size to start from, as the base64 of its file (PNG, JPEG …)."
    )
    strength: Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        None, description="With image: the share of the schedule by which it is noised, 0.6 by default."
    )
    frames: StrictInt = Field(20, ge=0, le=MAX_FRAMES, description="Number of steps of the process to show.")
    priority: Priority = Field("interactive", description="`batch` yields to interactive jobs.")


class JobSpec(Contract):
    """A resolved request: all fields that determine the images, and those that a worker needs besides."""

    model: str
    digest: str
    count: int
    first_index: int
    seed: int
    steps: int
    sampler: str
    spacing: Spacing
    eta: float | None  # only of DDIM
    thresholding: Thresholding
    start: int  # timesteps below it are undone: the schedule's T, or fewer with a start image
    image: str | None  # base64 of the start image's file; in views its sha256
    labels: list[int] | None  # one for each image; None for a model without classes
    null_class: int | None
    guidance_scale: float
    frames: int
    priority: Priority = "interactive"

    def recipe(self, position: int, build: str) -> dict[str, Any]:
        """The fields that reproduce the image at `position` on `build`: the metadata of its PNG."""
        label = {} if self.labels is None else {"label": self.labels[position]}
        eta = {} if self.eta is None else {"eta": self.eta}
        start = {} if self.image is None else {"start": self.start, "image_sha256": image_digest(self.image)}
        return {
            "steps": self.steps,
            "sampler": self.sampler,
            **eta,
            "spacing": self.spacing,
            "thresholding": self.thresholding,
            **start,
            "seed": self.seed,
            "index": self.first_index + position,
            **label,
            "guidance_scale": self.guidance(position),
            "model_hash": self.digest,
            "build": build,
        }

    def guidance(self, position: int) -> float:
        """The guidance scale of one image: 1 for the null class, which guidance does not change."""
        if self.labels is None or self.null_class is None or self.labels[position] == self.null_class:
            return 1.0
        return self.guidance_scale

    @property
    def row_steps(self) -> int:
        """Network evaluations of this job, counted per image; a guided step takes two."""
        return self.steps * sum(1 if self.guidance(position) == 1 else 2 for position in range(self.count))


def image_digest(image: str) -> str:
    """sha256 of a base64-encoded file."""
    return hashlib.sha256(base64.b64decode(image)).hexdigest()


class ModelCard(Contract):
    """A served model, as its worker publishes it."""

    name: str
    digest: str
    created_at: str
    image_size: int
    channels: int
    classes: list[str]
    null_class: int | None
    num_train_timesteps: int
    samplers: list[str]
    max_count: int
    guidance_scale: float  # this and the next three are a request's defaults
    sampler: str
    steps: int
    thresholding: Thresholding
    build: str  # software and hardware that determine the bytes of an image
    deterministic: bool = Field(True, description="Whether an image has the same bytes in any batch.")
    data: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    figures: dict[str, str] = Field({}, description="Files under /models/{name}/figures: name and sha256.")


class Progress(Contract):
    images_done: int
    images: int
    steps_done: int = Field(description="Denoising steps taken, summed over the job's images.")
    steps: int


class Urls(Contract):
    job: str
    events: str
    images: list[str]  # of the finished images
    grid: str | None
    process: str | None
    archive: str | None


class JobView(Contract):
    """A job as GET /jobs/{id} shows it."""

    id: str
    status: Status
    position: int | None = Field(description="Queued jobs ahead of this one, while queued.")
    eta_seconds: float | None = Field(description="Seconds until the end, where the model's pace is known.")
    request: JobSpec
    progress: Progress
    attempt: int
    build: str | None = Field(description="What computes the images, once the job has begun; all are of one build.")
    error: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    urls: Urls


class JobPage(Contract):
    jobs: list[JobView]
    next_cursor: str | None


class ModelPage(Contract):
    models: list[ModelCard]


class Queued(Contract):
    position: int
    eta_seconds: float | None


class Started(Contract):
    attempt: int


class Frame(Contract):
    """x̂0 of images that advance together, after one step."""

    attempt: int
    step: int
    steps: int
    timestep: int
    first: int  # position in the job of the first of these images
    images: list[str]  # base64 PNG


class Done(Contract):
    images: int
    seconds: float


class Failed(Contract):
    reason: str


class Canceled(Contract):
    pass


EVENT_DATA: dict[EventType, type[Contract]] = {
    EventType.QUEUED: Queued,
    EventType.STARTED: Started,
    EventType.FRAME: Frame,
    EventType.DONE: Done,
    EventType.FAILED: Failed,
    EventType.CANCELED: Canceled,
}
