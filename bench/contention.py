"""Rates of two commands that share CPU cores, and of each beside a busy loop: python -m bench.contention

`noisemill train` and `noisemill sample` run for the whole time; SIGSTOP stops one of them while the other is
measured alone. Each round measures every combination once.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.report import machine, spread, table, write_performance

SETTLE_SECONDS = 4.0  # time for `model.cores` to detect a change of load
START_SECONDS = 600.0  # maximum time until a command runs
MANY_IMAGES = 100_000  # more than the sampling can complete


class Command:
    """A running `noisemill` command. Its progress is read from its progress bar."""

    def __init__(self, *arguments: str) -> None:
        self._terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "noisemill", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=inside,
            stderr=inside,
            env=os.environ | {"TERM": "xterm"},
            start_new_session=True,
        )
        os.close(inside)
        self.done, self.output = 0, ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self.output = (self.output + os.read(self._terminal, 1 << 16).decode(errors="replace"))[-4000:]
            except OSError:  # the command has ended
                return
            for done in re.findall(r"(\d+)/\d+", self.output):
                self.done = int(done)

    def wait_until_running(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.done < 3:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the command did not start: {self.output}")
            time.sleep(0.1)

    def rate(self, seconds: float) -> float:
        """Steps per second, measured between two changes of the bar."""

        def change() -> tuple[int, float]:
            before, deadline = self.done, time.monotonic() + 60
            while self.done == before:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the command makes no progress: {self.output}")
                time.sleep(0.002)
            return self.done, time.perf_counter()

        first, began = change()
        time.sleep(seconds)
        last, ended = change()
        return (last - first) / (ended - began)

    @contextmanager
    def paused(self) -> Iterator[None]:
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def busy_loop() -> Iterator[None]:
    """A process of normal priority that never waits."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def rates(commands: Sequence[Command], seconds: float) -> list[float]:
    """Steps per second of commands that run at the same time."""
    time.sleep(SETTLE_SECONDS)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda command: command.rate(seconds), commands))


def main(
    recipe: Annotated[Path, typer.Argument()] = Path("recipes/mnist.toml"),
    model: str = "mnist",
    data_root: Path | None = None,
    rounds: int = 3,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement.")] = 8.0,
) -> None:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path("var/compiled").resolve()))
    names = "training", "sampling"
    alone, beside_loop, together = ({name: list[float]() for name in names} for _ in range(3))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = [] if data_root is None else ["--data-root", str(data_root)]
        training = Command("train", str(recipe), "--runs", folder, "--models", f"{folder}/models", *root)
        stack.callback(training.end)
        training.wait_until_running()
        options = ["--count", str(MANY_IMAGES), "--steps", "1000", "--sampler", "ddpm", "--guidance", "1"]
        sampling = Command("sample", model, "--out", f"{folder}/samples.npy", *options)
        stack.callback(sampling.end)
        sampling.wait_until_running()
        for _ in range(rounds):
            for name, command, other in ((names[0], training, sampling), (names[1], sampling, training)):
                with other.paused():
                    alone[name] += rates([command], seconds)
                    with busy_loop():
                        beside_loop[name] += rates([command], seconds)
            for name, rate in zip(names, rates([training, sampling], seconds), strict=True):
                together[name].append(rate)
    found = []
    for name in names:
        kept = [a / b for a, b in zip(together[name], alone[name], strict=True)]
        times = [a / b for a, b in zip(alone[name], beside_loop[name], strict=True)]
        found.append([name, spread(alone[name]), f"**{spread(kept, 2)}**", f"**{spread(times, 2)}**"])
    head = ["", "steps a second alone", "rate beside the other / alone", "time of a step beside a busy loop / alone"]
    device = torch.device("cpu")
    text = f"`{recipe}` and `{model}`: {rounds} rounds of {seconds:.0f} s. {machine(device)}."
    write_performance("contention", device, f"{text}\n\n{table(head, found)}")


if __name__ == "__main__":
    typer.run(main)
