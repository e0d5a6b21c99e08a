"""A person at the browser: fill the form, submit, wait until Completed, read report and MLflow.

With GRISTMILL_PICTURES=FOLDER the pages are also saved there, as they stand in docs/pictures.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.flows.test_dev import Dev, start_dev
from tests.system.browser import Browser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        shutil.which("chromedriver") is None or shutil.which("chromium") is None,
        reason="needs chromium and chromedriver",
    ),
    pytest.mark.timeout(600),
]
PICTURES = os.environ.get("GRISTMILL_PICTURES")
SCROLL_TO_LOSS = r"""
    const heads = [...document.querySelectorAll('*')].filter(
        e => e.innerText && /^train\s*\(\d+\)$/.test(e.innerText.trim()));
    if (!heads.length) return false;
    heads[heads.length - 1].scrollIntoView();
    return true;
"""


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    dev = start_dev(tmp_path / "root", tmp_path)
    yield dev
    dev.end(signal.SIGTERM)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


def keep(browser: Browser, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        time.sleep(4)  # charts and graphs move into their places
        browser.picture(Path(PICTURES) / f"{name}.png")


def rows(dev: Dev, what: str) -> list[dict]:
    url = f"{dev.prefect}/api/{what}/filter"
    return httpx.post(url, json={}, trust_env=False, timeout=60).json()


def test_run_started_from_the_form_completes_and_shows_its_report(dev: Dev, browser: Browser):
    deployment = next(r["id"] for r in rows(dev, "deployments") if r["name"] == "language-model")
    browser.go(f"{dev.prefect}/v2/deployments/deployment/{deployment}/run")
    browser.click("//button[normalize-space()='pydocs']")
    browser.click("//*[@role='option'][contains(., 'tiny')]")
    browser.write("Name in the registry", "from-the-form")
    browser.write("Layers", "0")
    browser.click("//button[normalize-space()='Submit']")
    time.sleep(1)
    assert rows(dev, "flow_runs") == []  # refused in the form
    keep(browser, "refused")
    browser.clear("Layers")
    browser.write("Layers", "1")
    browser.write("Training tokens", "400000" if PICTURES else "30000")
    keep(browser, "prefect-form")
    browser.click("//button[normalize-space()='Submit']")

    run = browser.wait_for(lambda: rows(dev, "flow_runs"), "the flow run")[0]
    assert run["parameters"]["settings"]["layers"] == 1
    browser.go(f"{dev.prefect}/v2/runs/flow-run/{run['id']}")
    ended = ("COMPLETED", "FAILED", "CRASHED")
    browser.wait_for(lambda: rows(dev, "flow_runs")[0]["state_type"] in ended, "the end", 300)
    browser.go(f"{dev.prefect}/v2/runs/flow-run/{run['id']}")  # the graph, fitted to the whole run
    badge = "//span[normalize-space()='Completed']"
    browser.wait_for(lambda: browser.find(badge), "Completed on the page")
    browser.wait_for(lambda: "eval_set@" in browser.text, "the run's own lines in the log")
    browser.wait_for(lambda: browser.find("//canvas"), "the graph")
    keep(browser, "prefect-run")

    shown = {row["key"]: row for row in rows(dev, "artifacts")}
    browser.go(f"{dev.prefect}/v2/artifacts/artifact/{shown['report']['id']}")
    browser.wait_for(lambda: "From raw text to training text" in browser.text, "the report")
    assert "bits per byte" in browser.text and "from-the-form" in browser.text
    assert browser.find("//img[starts-with(@src, 'data:image/png')]")
    keep(browser, "prefect-report")
    for key in ("funnel", "loss-pretrain", "evaluation-base", "mlflow-run"):
        browser.go(f"{dev.prefect}/v2/artifacts/artifact/{shown[key]['id']}")
        browser.wait_for(lambda: browser.find("//button[normalize-space()='Raw']"), key)
        keep(browser, f"prefect-{key}")

    verdict = shown["registry-from-the-form-base"]
    browser.go(f"{dev.prefect}/v2/artifacts/artifact/{verdict['id']}")
    browser.wait_for(lambda: "Promoted" in browser.text, "the gate's verdict")
    assert "bits per byte" in browser.text and "there was no champion" in browser.text
    keep(browser, "prefect-verdict")

    link = re.search(r"\((http[^)]+)\)", shown["mlflow-run"]["data"])
    assert link is not None
    browser.go(link[1])
    browser.wait_for(lambda: "tuned.bits_per_byte" in browser.text, "the metrics of the run")
    browser.go(child_run(dev, "pretrain") + "/model-metrics?workflowType=machine_learning")
    browser.wait_for(lambda: browser.run(SCROLL_TO_LOSS), "the loss curve in MLflow")
    close = "//button[@aria-label='Close' or @aria-label='Close assistant panel']"
    if browser.find(close):
        browser.click(close)
    keep(browser, "mlflow-run")
    experiment = link[1].partition("/runs/")[0]
    browser.go(f"{experiment}/runs?workflowType=machine_learning")
    browser.wait_for(lambda: "from-the-form" in browser.text, "the list of runs")
    keep(browser, "mlflow-runs")
    browser.go(f"{dev.mlflow}/#/models/from-the-form/versions/1?workflowType=machine_learning")
    browser.wait_for(lambda: "champion" in browser.text, "the page of the version")
    keep(browser, "mlflow-version")


def child_run(dev: Dev, name: str) -> str:
    """The page of the newest MLflow run of this name."""
    base = f"{dev.mlflow}/api/2.0/mlflow"
    with httpx.Client(trust_env=False, base_url=base, timeout=60) as client:
        found = client.post("/experiments/search", json={"max_results": 10}).json()["experiments"]
        experiment = next(e["experiment_id"] for e in found if e["name"] == "gristmill")
        query = {"experiment_ids": [experiment], "filter": f"attributes.run_name = '{name}'"}
        run = client.post("/runs/search", json=query).json()["runs"][0]["info"]["run_id"]
    return f"{dev.mlflow}/#/experiments/{experiment}/runs/{run}"
