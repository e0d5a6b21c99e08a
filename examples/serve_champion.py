"""Serve the champion and reload when there is a new one. Needs: mlflow, torch, transformers.

    python serve_champion.py http://127.0.0.1:5000 pydocs                        # polls
    SECRET=... python serve_champion.py http://127.0.0.1:5000 pydocs \\
        --webhook https://this.machine.example/webhook                            # and is told

    POST /invocations {"prompt": "..."} or {"messages": [...]}     GET /health

Polling asks the registry which version the alias points to. A webhook is sent by MLflow's server as
soon as an alias moves (not when a program writes to the database without a server); it must be an
https address of the public network unless the server was started with
MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true, and the server needs
MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY to keep the secret over a restart.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
from mlflow.exceptions import MlflowException

ALIAS = "champion"
MAX_BODY_BYTES = 1 << 20
MAX_AGE_SECONDS = 300  # of a webhook: an old one may be somebody's replay


class Champion:
    """The model that answers now; a new version is loaded beside it, then takes its place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.client = mlflow.MlflowClient()
        self.look_now = threading.Event()
        self.version, self.model = self._load(self._current())

    def follow(self, seconds: float) -> None:
        """Look every `seconds`, and at once when told to."""
        while True:
            self.look_now.wait(seconds)
            self.look_now.clear()
            try:
                newest = self._current()
                if newest != self.version:
                    self.version, self.model = self._load(newest)
                    print(f"now answering: version {newest}", flush=True)
            except (MlflowException, OSError, RuntimeError, ValueError) as error:
                print(f"version {self.version} goes on answering: {error}", flush=True)

    def _current(self) -> str:
        return str(self.client.get_model_version_by_alias(self.name, ALIAS).version)

    def _load(self, version: str) -> tuple[str, mlflow.pyfunc.PyFuncModel]:
        return version, mlflow.pyfunc.load_model(f"models:/{self.name}/{version}")


class Handler(BaseHTTPRequestHandler):
    """Two things to post and one to get."""

    champion: Champion
    secret: str
    one_at_a_time = threading.Lock()

    def do_GET(self) -> None:
        """GET /health."""
        self._reply(200, {"model": self.champion.name, "version": self.champion.version})

    def do_POST(self) -> None:
        """POST /invocations or /webhook."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_BODY_BYTES:
            self._reply(413, {"error": f"a body has 1 to {MAX_BODY_BYTES} bytes"})
            return
        body = self.rfile.read(length)
        if self.path == "/webhook":
            self._webhook(body)
        else:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        model = self.champion.model  # kept to the end, whatever is promoted meanwhile
        try:
            with self.one_at_a_time:
                answer = model.predict([json.loads(body)])
            self._reply(200, answer)
        except (ValueError, TypeError, MlflowException) as error:
            self._reply(400, {"error": str(error)})

    def _webhook(self, body: bytes) -> None:
        if not is_signed(self.secret, self.headers, body):
            self._reply(401, {"error": "the signature is not ours, or it is old"})
            return
        told = json.loads(body)["data"]
        if (told.get("name"), told.get("alias")) == (self.champion.name, ALIAS):
            self.champion.look_now.set()
        self._reply(200, {})

    def _reply(self, status: int, document: dict) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def is_signed(secret: str, headers: dict, body: bytes) -> bool:
    """Whether MLflow signed `body` with our secret, not long ago."""
    sent = headers.get("X-MLflow-Timestamp", "")
    if not secret or not sent.isdigit() or abs(time.time() - int(sent)) > MAX_AGE_SECONDS:
        return False
    signed = f"{headers.get('X-MLflow-Delivery-Id', '')}.{sent}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    expected = f"v1,{base64.b64encode(digest).decode()}"
    return hmac.compare_digest(expected, headers.get("X-MLflow-Signature", ""))


def subscribe(client: mlflow.MlflowClient, name: str, url: str, secret: str) -> None:
    """Let MLflow's server tell `url` about aliases; once, however often this starts."""
    mine = f"{name}-champion"
    for webhook in client.list_webhooks():
        if webhook.name == mine:
            client.delete_webhook(webhook.webhook_id)
    client.create_webhook(mine, url, ["model_version_alias.created"], secret=secret)


def main() -> None:
    """Load, subscribe, follow, serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uri", help="MLflow's address (an SQLite file works for polling)")
    parser.add_argument("name", help="of the registered model")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument("--poll", type=float, default=30.0, help="seconds between two looks")
    parser.add_argument("--webhook", help="the address under which MLflow reaches /webhook here")
    given = parser.parse_args()

    mlflow.set_tracking_uri(given.uri)
    Handler.champion = Champion(given.name)
    Handler.secret = os.environ.get("SECRET", "")
    if given.webhook:
        if not Handler.secret:
            parser.error("--webhook needs a secret in the environment variable SECRET")
        subscribe(Handler.champion.client, given.name, given.webhook, Handler.secret)
    threading.Thread(target=Handler.champion.follow, args=(given.poll,), daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", given.port), Handler)
    print(f"version {Handler.champion.version} answers at port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
