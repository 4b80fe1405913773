"""Cores: spinning of libgomp threads beside other processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch

from model import cores
from model.cores import Cores
from model.networks.unet import UNet, UNetConfig

pytestmark = pytest.mark.skipif(
    cores._libgomp() is None or (os.cpu_count() or 1) < 2, reason="needs libgomp and two CPUs"
)


@pytest.fixture(autouse=True)
def two_threads(one_thread: None) -> None:
    torch.set_num_threads(2)


@pytest.fixture
def stat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that replaces /proc/stat."""
    path = tmp_path / "stat"
    monkeypatch.setattr(cores, "STAT", path)
    monkeypatch.setattr(cores, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(cores, "CALM_SECONDS", 0.05)
    monkeypatch.setattr(cores, "_cpus", lambda: {0, 1})
    path.write_text(cpu_line(0))
    return path


def cpu_line(seconds: float) -> str:
    """user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice in ticks."""
    return f"cpu0 {int(seconds * os.sysconf('SC_CLK_TCK'))} 0 0 5 5 0 0 0 9 9\n"


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def wait_for_threads(count: int) -> None:
    deadline = time.monotonic() + 10
    while threads() != count:
        assert time.monotonic() < deadline, f"{threads()} threads instead of {count}"
        time.sleep(0.01)


def stop_spinning(cores: Cores) -> None:
    assert cores._libgomp is not None
    before = threads()
    cores._stop_spinning(cores._libgomp)
    wait_for_threads(before + 1 + (os.cpu_count() or 1))


SPINNING_PROBE = """
import time, torch
from model.cores import Cores
torch.set_num_threads(2)
x = torch.zeros(1 << 20)

def processor_seconds():
    began = time.process_time()
    for _ in range(50):  # small parallel operations, with pauses in which threads may spin
        x.add_(1)
        time.sleep(0.01)
    return time.process_time() - began

cores = Cores()
processor_seconds()
spinning = processor_seconds()
cores._stop_spinning(cores._libgomp)
time.sleep(0.5)
waiting = processor_seconds()
cores.close()
time.sleep(0.5)
print(spinning, waiting, processor_seconds())
"""


def test_idle_team_stops_threads_from_spinning_until_closed() -> None:
    """In a process of its own: an idle team of another test would change what is measured."""
    done = subprocess.run(
        [sys.executable, "-c", SPINNING_PROBE], capture_output=True, text=True, check=True, timeout=120
    )
    spinning, waiting, again = map(float, done.stdout.split())
    assert waiting < min(spinning, again) / 2, (spinning, waiting, again)


def test_libgomp_is_that_of_torch_beside_another_copy() -> None:
    import sklearn.cluster  # noqa: F401  (loads a copy of its own)

    libgomp = cores._libgomp()
    assert libgomp is not None
    assert Path(libgomp._name).is_relative_to(Path(torch.__file__).parent)


def test_close_ends_the_idle_team() -> None:
    before, cores = threads(), Cores()
    stop_spinning(cores)
    cores.close()
    wait_for_threads(before)


def test_network_and_gradients_are_the_same_bits_without_spinning() -> None:
    torch.manual_seed(0)
    unet = UNet(UNetConfig(sample_size=16, in_channels=1, out_channels=1))
    x, t = torch.randn(8, 1, 16, 16), torch.arange(8)

    def bits() -> list[torch.Tensor]:
        unet.zero_grad()
        output = unet(x, t, None)
        output.square().mean().backward()
        return [output.detach(), *(p.grad.clone() for p in unet.parameters() if p.grad is not None)]

    expected = bits()
    with closing(Cores()) as cores:
        stop_spinning(cores)
        found = bits()
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_busy_processes_are_detected() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        with closing(Cores()) as cores:
            assert cores.spins
            deadline, x = time.monotonic() + 30, torch.zeros(1 << 20)
            while cores.spins and time.monotonic() < deadline:
                x.add_(1)
                cores.adapt()
            assert not cores.spins
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_threads_spin_again_once_no_process_contends(stat: Path) -> None:
    with closing(Cores()) as cores:
        time.sleep(0.01)
        stat.write_text(cpu_line(1000))
        cores.adapt()
        assert not cores.spins
        cores.adapt()
        assert not cores.spins  # not before CALM_SECONDS
        time.sleep(0.06)
        cores.adapt()
        assert cores.spins


def test_processes_on_cpus_that_no_thread_needs_change_nothing(stat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_cpus", lambda: set(range(100_000)))
    with closing(Cores()) as some:
        time.sleep(0.01)
        stat.write_text(cpu_line(100))
        some.adapt()
        assert some.spins


def test_missing_proc_stat_changes_nothing(stat: Path) -> None:
    stat.unlink()
    with closing(Cores()) as cores:
        cores.adapt()
        assert cores.spins
