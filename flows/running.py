"""`mill run`: from a settings file to a finished run, with or without Prefect.

The Prefect server needs seconds to start, so it is started before the heavy imports and waited for
after them.
"""

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from flows.display import Display
from flows.environment import prefect_api_url, prepare_environment
from flows.root import prepare_root
from flows.server import PrefectServer, prefect_api
from pipeline.store.errors import ConfigError
from pipeline.store.secrets import redacted
from pipeline.store.settings_file import read_settings


def run_config(
    path: Path, overrides: Sequence[str], *, only: str | None, orchestrated: bool,
    night: bool = False,
) -> None:  # fmt: skip
    """Run the graph of a settings file; raises MillError, or SystemExit with 143 after SIGTERM.

    With `night` the champion is trained further on what arrived, instead.
    """
    settings = read_settings(path, overrides)
    root = prepare_root(Path(str(settings.get("root", "runs"))))
    prepare_environment(root)
    display = Display()
    display.line(f"gristmill: {path} -> {root}", style="bold")
    with ExitStack() as stack:
        server: PrefectServer | None = None
        if orchestrated:
            server = stack.enter_context(prefect_api(root, prefect_api_url()))
        # Heavy: torch, mlflow and prefect load while the server starts.
        from httpx import HTTPError
        from prefect.exceptions import PrefectException

        from flows.continue_training import continue_training, run_night
        from flows.corpus import corpus, run_corpus
        from flows.failure import RunFailed
        from flows.language_model import language_model, run_language_model
        from flows.logs import quiet_user_errors, tell_prefect_the_rest
        from flows.outage import is_outage, own_reason
        from flows.run import Call, called_with, sigterm_as_exit
        from flows.stages import NAMES
        from pipeline.config import EARLY, validate, validate_until_tokenize
        from pipeline.store.fingerprint import plain

        if only is not None and only not in NAMES:
            raise ConfigError(f"--only={only} is no stage; stages are {', '.join(NAMES)}")
        run_it: Callable[..., object] = run_night if night else run_language_model
        flow: Callable[..., object] = continue_training if night else language_model
        if only in EARLY:
            config, wrong = validate_until_tokenize(
                settings, where=str(path), only=only, overrides=overrides
            )
            if wrong is not None:
                display.line(f"warning: later stages could not run: {wrong}", style="yellow")
                run_it, flow = run_corpus, corpus
        else:
            config = validate(settings, where=str(path), overrides=overrides)
        call = Call(display, only, command=_command(path, overrides, only, orchestrated, night))
        quiet_user_errors()
        if not orchestrated:
            with sigterm_as_exit():
                run_it(config, call, orchestrated=False)
            return
        if server is not None:
            server.wait_until_healthy(
                lambda seconds: display.redraw(f"  starting Prefect {seconds:.0f} s")
            )
        stack.callback(tell_prefect_the_rest)
        stack.enter_context(sigterm_as_exit())
        try:
            with called_with(call):
                flow(config=plain(config))
        except (HTTPError, PrefectException, RuntimeError) as error:
            reason = own_reason(error)
            if reason is not None:
                raise reason from None
            if not is_outage(error):
                if isinstance(error, RunFailed) and error.__cause__ is not None:
                    raise error.__cause__ from None
                raise
            display.line(
                f"warning: Prefect does not answer any more ({error}); going on without it, "
                "finished stages are reused",
                style="yellow",
            )
            run_it(config, call, orchestrated=False)


def _command(
    path: Path, overrides: Sequence[str], only: str | None, orchestrated: bool, night: bool
) -> str:
    """What was typed, as one may type it again."""
    words = ["mill", "continue" if night else "run", str(path), *overrides]
    if only is not None:
        words += ["--only", only]
    if not orchestrated:
        words.append("--no-prefect")
    return redacted(shlex.join(words))
