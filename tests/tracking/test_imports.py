import subprocess
import sys
from pathlib import Path

MODULES = (
    "pipeline.tracking.journal",
    "pipeline.tracking.run",
    "pipeline.stages.register",
    "pipeline.stages.export_model",
    "pipeline.serving.chat",
)
HEAVY = "{'mlflow', 'transformers', 'fastapi', 'uvicorn'} & set(sys.modules)"


def test_stages_and_tracking_load_without_mlflow_and_transformers() -> None:
    code = f"import sys, {', '.join(MODULES)}; print(sorted({HEAVY}))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert found.stdout.strip() == "[]", found.stderr
