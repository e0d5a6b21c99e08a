"""CPU, memory, disk, network and GPU of this machine, sampled into the journal.

The names are MLflow's own, so its pages draw them; MLflow's sampler is not used because it talks to
the server, which may be gone.
"""

import shutil
import subprocess
import threading
from pathlib import Path

import psutil

from pipeline.store.runtime import Journal

_NVIDIA_QUERY = "index,memory.used,memory.total,utilization.gpu,power.draw,power.limit"
_NVIDIA_SECONDS = 5.0
MIB = 1.048576  # nvidia-smi counts MiB, MLflow's names mean 1e6 bytes


class SystemSampler:
    """One reading of the machine per call of `sample`, network counted from construction."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._nvidia = shutil.which("nvidia-smi")
        self._network = psutil.net_io_counters()
        psutil.cpu_percent(interval=None)  # the first call only starts the interval

    def sample(self) -> dict[str, float]:
        """Metric name -> value; what cannot be read is left out."""
        memory = psutil.virtual_memory()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(interval=None),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.percent,
        }
        try:
            disk = psutil.disk_usage(str(self._directory))
            values["disk_usage_percentage"] = disk.percent
            values["disk_usage_megabytes"] = disk.used / 1e6
            values["disk_available_megabytes"] = disk.free / 1e6
        except OSError:
            pass  # the root was removed under us: the other readings are still true
        network = psutil.net_io_counters()
        if network is not None and self._network is not None:
            received = network.bytes_recv - self._network.bytes_recv
            values["network_receive_megabytes"] = received / 1e6
            values["network_transmit_megabytes"] = (
                network.bytes_sent - self._network.bytes_sent
            ) / 1e6
        values.update(self._gpus())
        return {f"system/{name}": float(value) for name, value in values.items()}

    def _gpus(self) -> dict[str, float]:
        if self._nvidia is None:
            return {}
        command = [self._nvidia, f"--query-gpu={_NVIDIA_QUERY}", "--format=csv,noheader,nounits"]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=True
            )
        except (OSError, subprocess.SubprocessError):
            self._nvidia = None  # broken driver: do not pay for it at every sample
            return {}
        return parse_nvidia_smi(result.stdout)


def parse_nvidia_smi(text: str) -> dict[str, float]:
    """The CSV lines of `nvidia-smi` in the order of the query, under MLflow's names."""
    values: dict[str, float] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != 6:
            continue
        numbers = [_number(cell) for cell in cells]
        index, used, total, utilization, power, power_limit = numbers
        if index is None:
            continue
        gpu = f"gpu_{int(index)}"
        if used is not None:
            values[f"{gpu}_memory_usage_megabytes"] = used * MIB
            if total:
                values[f"{gpu}_memory_usage_percentage"] = round(100 * used / total, 1)
        if utilization is not None:
            values[f"{gpu}_utilization_percentage"] = utilization
        if power is not None:
            values[f"{gpu}_power_usage_watts"] = power
            if power_limit:
                values[f"{gpu}_power_usage_percentage"] = round(100 * power / power_limit, 1)
    return values


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None  # "[N/A]", "[Not Supported]"


class SystemMetrics:
    """A daemon thread that records a sample in `journal` every `seconds` until `stop`."""

    def __init__(self, journal: Journal, directory: Path, *, seconds: float) -> None:
        self._journal = journal
        self._seconds = seconds
        self._sampler = SystemSampler(directory)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the sampling; returns when the thread is done."""
        self._stopped.set()
        self._thread.join(timeout=_NVIDIA_SECONDS + 1)

    def _run(self) -> None:
        step = 0
        while not self._stopped.wait(self._seconds):
            self._journal.metrics(self._sampler.sample(), step=step)
            step += 1
