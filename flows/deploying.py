"""`mill deploy`: work pools, automations and all deployments, on the server of PREFECT_API_URL.

    cpu     reading, cleaning, looking; any number of runs at once
    gpu     training and evaluating; one run at a time on the whole pool

Safe to repeat: what is there is brought up to date, schedules switched on by hand stay on.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.workers.process import ProcessWorker

from flows.alerts import install_alerts, webhook_url
from flows.environment import prefect_api_url
from flows.root import prepare_root
from flows.settings import ROOT_VARIABLE
from flows.zombies import replace, shipped
from pipeline.store.errors import ConfigError, MillError
from pipeline.store.provenance import CHECKOUT
from pipeline.store.secrets import redacted

POOLS: dict[str, int | None] = {"cpu": None, "gpu": 1}
"""Name -> how many runs at once; None: as many as the worker takes."""


def deploy(root: Path) -> None:
    """Create or update everything; ConfigError without a server, MillError if Prefect refuses."""
    if prefect_api_url() is None:
        raise ConfigError(
            "mill deploy needs a Prefect server: set PREFECT_API_URL=http://HOST:4200/api, or run "
            "`mill dev`, which starts one and deploys"
        )
    url = webhook_url()
    root = prepare_root(root)
    try:
        asyncio.run(_prepare_server(url))
    except (httpx.TransportError, httpx.InvalidURL, PrefectHTTPStatusError) as error:
        raise MillError(
            f"the Prefect server of PREFECT_API_URL={redacted(prefect_api_url() or '')} did not do "
            f"what it was asked ({error or type(error).__name__}); is it running? Start one with "
            "`prefect server start`, or use `mill dev`"
        ) from error
    _deploy_all(root)


async def _prepare_server(url: str | None) -> None:
    async with get_client() as client:
        for name, limit in POOLS.items():
            await _pool(client, name, limit)
        for automation in shipped():
            await replace(client, automation)
        await install_alerts(client, url)


async def _pool(client: PrefectClient, name: str, limit: int | None) -> None:
    """A process pool; of one that is there only the limit is set."""
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(
            name=name, type="process", base_job_template=template, concurrency_limit=limit
        )
        await client.create_work_pool(pool)
    else:
        await client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def _deploy_all(root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env={**os.environ, ROOT_VARIABLE: str(root), "PYTHONSAFEPATH": "1"}, cwd=CHECKOUT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise MillError(f"prefect deploy --all failed:\n{result.stdout}{result.stderr}")


if __name__ == "__main__":
    deploy(Path(sys.argv[1]))
