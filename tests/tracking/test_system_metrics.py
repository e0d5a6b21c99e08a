import threading
from pathlib import Path

from pipeline.tracking.journal import FileJournal, read_all
from pipeline.tracking.system_metrics import SystemMetrics, SystemSampler, parse_nvidia_smi


def test_sample_uses_mlflows_names(tmp_path: Path) -> None:
    values = SystemSampler(tmp_path).sample()
    expected = {
        "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes",
        "system/system_memory_usage_percentage", "system/disk_usage_percentage",
        "system/disk_usage_megabytes", "system/disk_available_megabytes",
    }  # fmt: skip
    assert expected <= set(values)
    assert 0 <= values["system/system_memory_usage_percentage"] <= 100


def test_nvidia_smi_output_becomes_metrics_and_gaps_are_left_out() -> None:
    text = "0, 1000, 4000, 55, 200.5, 700.0\n1, 10, 4000, [N/A], [N/A], 700.0\nnonsense\n"
    values = parse_nvidia_smi(text)
    assert values["gpu_0_memory_usage_megabytes"] == 1048.576
    assert values["gpu_0_memory_usage_percentage"] == 25.0
    assert values["gpu_0_utilization_percentage"] == 55.0
    assert values["gpu_0_power_usage_percentage"] == 28.6
    assert "gpu_1_utilization_percentage" not in values
    assert "gpu_1_power_usage_watts" not in values


class _Counting(FileJournal):
    """Signals the third sample."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.third = threading.Event()

    def metrics(self, values, *, step):
        super().metrics(values, step=step)
        if step == 2:
            self.third.set()


def test_sampler_records_until_stopped(tmp_path: Path) -> None:
    journal = _Counting(tmp_path / "j.jsonl")
    sampler = SystemMetrics(journal, tmp_path, seconds=0.01)
    assert journal.third.wait(10)
    sampler.stop()
    steps = [record.step for record in read_all(journal.path).records]
    assert steps == list(range(len(steps)))
