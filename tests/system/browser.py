"""Headless Chromium through chromedriver's plain HTTP protocol (W3C WebDriver)."""

import base64
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from flows.server import free_port

Found = TypeVar("Found")
PATIENCE_SECONDS = 60.0
CONTROL, RELEASE, BACKSPACE = "\ue009", "\ue000", "\ue003"  # W3C WebDriver, section 17.4.2


class Browser:
    """One page of one browser; `close()` ends both."""

    def __init__(self, profile: Path, *, width: int = 1400, height: int = 1000) -> None:
        port = free_port()
        self._driver = subprocess.Popen(
            [str(shutil.which("chromedriver")), f"--port={port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
        self._session = ""
        self.wait_for(self._ready, "chromedriver")
        arguments = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--no-first-run", f"--user-data-dir={profile}", f"--window-size={width},{height}",
        ]  # fmt: skip
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments, "binary": str(shutil.which("chromium"))},
        }
        answer = self._post("/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def close(self) -> None:
        """End the browser and its driver."""
        if self._session:
            self._http.delete(self._session)
        self._driver.terminate()
        self._driver.wait(30)
        self._http.close()

    def go(self, url: str) -> None:
        """Open a page."""
        self._post(f"{self._session}/url", {"url": url})

    def run(self, script: str) -> Any:
        """The value of a JavaScript function body."""
        return self._post(f"{self._session}/execute/sync", {"script": script, "args": []})

    @property
    def text(self) -> str:
        """What a person can read on the page."""
        return str(self.run("return document.body.innerText"))

    def find(self, xpath: str) -> str | None:
        """The id of the first element on the path, if any."""
        answer = self._http.post(
            f"{self._session}/element", json={"using": "xpath", "value": xpath}
        ).json()["value"]
        return None if "error" in answer else str(next(iter(answer.values())))

    def click(self, xpath: str) -> None:
        """Click the element once it is there."""
        element = self.wait_for(lambda: self.find(xpath), xpath)
        self._post(f"{self._session}/element/{element}/click", {})

    def write(self, label: str, text: str) -> None:
        """Type into the field under `label`."""
        xpath = (
            f"//label[starts-with(normalize-space(.), '{label}')]"
            "/ancestor::div[.//input or .//textarea][1]//*[self::input or self::textarea]"
        )
        self.write_into(xpath, text)

    def clear(self, label: str) -> None:
        """Empty the field under `label`, as a person does: the pages listen to keys."""
        self.write(label, CONTROL + "a" + RELEASE + BACKSPACE)

    def write_into(self, xpath: str, text: str) -> None:
        """Type into the first field on the path."""
        element = self.wait_for(lambda: self.find(xpath), xpath)
        self._post(f"{self._session}/element/{element}/value", {"text": text})

    def picture(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        shot = self._http.get(f"{self._session}/screenshot").json()["value"]
        path.write_bytes(base64.b64decode(shot))

    def wait_for(
        self, condition: Callable[[], Found | None], what: str, seconds: float = PATIENCE_SECONDS
    ) -> Found:
        """The first true answer of `condition`."""
        deadline = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            assert time.monotonic() < deadline, f"{what} did not appear within {seconds:.0f} s"
            time.sleep(0.25)

    def _ready(self) -> bool:
        try:
            return bool(self._http.get("/status").json()["value"]["ready"])
        except httpx.TransportError:
            return False

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]
