"""`mill` (or `gristmill`): the command line.

Heavy packages are imported inside the commands: `mill --help` must answer at once.
"""

import atexit
import errno
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows import groups
from flows.commands.evaluate_options import evaluate_command
from flows.environment import prepare_environment
from flows.groups import ConfigArgument, OverridesArgument, RootOption, UriOption
from pipeline.store.errors import ArtifactError, MillError
from pipeline.store.secrets import redacted

# The machine's answers that its owner can change; every other OSError is a fault of ours.
_OWNERS = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="mill",
    help="Raw text in, a registered language model out.",
    epilog="Exit codes: 0 done, 2 settings, 3 data, 4 artifacts, 5 training, 143 stopped after "
    "saving. --debug shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
groups.add_to(app)


@app.command()
def run(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    only: Annotated[
        str | None, typer.Option(help="Run just this stage; what it needs must be built.")
    ] = None,
    prefect: Annotated[
        bool, typer.Option(help="Go through Prefect, or call the plain functions.")
    ] = True,
) -> None:
    """Run the graph that a settings file describes; finished stages are reused."""
    from flows.running import run_config  # heavy: torch, prefect, mlflow

    run_config(config, overrides or [], only=only, orchestrated=prefect)


@app.command("continue")
def continue_command(
    config: ConfigArgument,
    overrides: OverridesArgument = None,
    prefect: Annotated[
        bool, typer.Option(help="Go through Prefect, or call the plain functions.")
    ] = True,
) -> None:
    """Train the champion further on the files that arrived since the last time."""
    from flows.running import run_config  # heavy: torch, prefect, mlflow

    run_config(config, overrides or [], only=None, orchestrated=prefect, night=True)


@app.command()
def plan(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Show per stage: reuse or build, minutes, memory, disk, tokens, epochs (and money)."""
    from flows.commands.show_plan import show_plan  # heavy: torch

    show_plan(config, overrides or [])


@app.command()
def show(
    thing: Annotated[
        str,
        typer.Argument(
            help="stage@fingerprint, a directory, a run id, models:/NAME@alias, a document id"
        ),
    ],
    html: Annotated[
        Path | None, typer.Option(help="Where to write the page of a model's birth certificate.")
    ] = None,
    eu_summary: Annotated[
        Path | None,
        typer.Option(help="Write a model's training content along the EU's template (Markdown)."),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Leave the document out of every later run.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why it is left out; stands in the list.")] = "",
    exclusions: Annotated[
        Path | None,
        typer.Option(help="The list it is written to; default: exclusions.jsonl in the root."),
    ] = None,
    root: RootOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Show what is known about an artifact, a run, a model or a document."""
    from flows.commands.show_thing import Wanted, show_thing

    wanted = Wanted(html, uri, remove, reason, exclusions, eu_summary)
    show_thing(thing, root=root, wanted=wanted)


@app.command()
def trace(
    model: Annotated[str, typer.Argument(help="pretrain@fp, a directory, models:/NAME@alias")],
    text: Annotated[str, typer.Argument(help="The text, or the prompt if --answer is given.")],
    answer: Annotated[str | None, typer.Option(help="The answer whose tokens are trained.")] = None,
    html: Annotated[Path | None, typer.Option(help="Where to write the HTML page.")] = None,
    root: RootOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Show text -> ids -> inputs, targets, mask -> shapes -> probability and loss per position."""
    from flows.commands.models import trace_text  # heavy: torch

    trace_text(model, text, answer=answer, html=html, root=root, uri=uri)


@app.command()
def chat(
    model: Annotated[str, typer.Argument(help="finetune@fp, a directory, models:/NAME@alias")],
    once: Annotated[str | None, typer.Option(help="Answer this one prompt and end.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(min=1)] = None,
    top_p: Annotated[float | None, typer.Option(min=0.0, max=1.0)] = None,
    max_tokens: Annotated[int, typer.Option(min=1)] = 128,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    root: RootOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Talk to a model; tokens appear as they are made."""
    from flows.commands.models import chat_with  # heavy: torch

    chat_with(
        model, once=once, temperature=temperature, top_k=top_k, top_p=top_p, max_tokens=max_tokens,
        seed=seed, root=root, uri=uri,
    )  # fmt: skip


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="finetune@fp, a directory, models:/NAME@alias")],
    host: Annotated[str, typer.Option(help="Loopback unless you say otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    follow: Annotated[
        bool, typer.Option(help="Swap to the version an alias points to when it moves.")
    ] = True,
    poll: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 10.0,
    max_requests: Annotated[
        int, typer.Option(min=1, max=1000, help="Answered at a time; one more gets a 503.")
    ] = 32,
    uri: UriOption = None,
    root: RootOption = Path("runs"),
) -> None:
    """Serve a model over OpenAI-style HTTP: /v1/completions, /v1/chat/completions, /v1/models."""
    from flows.commands.models import serve_model  # heavy: torch

    serve_model(
        model, host=host, port=port, poll=poll if follow else None, max_requests=max_requests,
        uri=uri, root=root,
    )  # fmt: skip


app.command("evaluate")(evaluate_command)


@app.command()
def dev(
    root: RootOption = Path("runs"),
    prefect_port: Annotated[int, typer.Option(help="0 takes a free port.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="0 takes a free port.")] = 5000,
) -> None:
    """Start a Prefect server, its workers and the MLflow UI on this machine; Ctrl-C stops all."""
    from flows.development import run_development  # heavy: prefect

    run_development(root, prefect_port=prefect_port, mlflow_port=mlflow_port)


@app.command()
def deploy(root: RootOption = Path("runs")) -> None:
    """Make work pools, automations and deployments on the Prefect server of PREFECT_API_URL."""
    from flows.deploying import deploy as deploy_all  # heavy: prefect

    deploy_all(root)


@app.command()
def doctor(
    root: RootOption = Path("runs"),
    uri: Annotated[
        str | None, typer.Option(help="An MLflow tracking server that should answer too.")
    ] = None,
) -> None:
    """Look at versions, disk, stores, GPU, clock, ports and servers; say what to fix."""
    from flows.commands.doctor import report_health  # heavy: torch

    report_health(root, uri=uri)


INTERRUPTED = 130  # what a shell reports for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> None:
    """Console entry: users' mistakes end in one line and the error's own exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    prepare_environment()
    # Python's last collection would walk all that torch, MLflow and Prefect made: two seconds.
    atexit.register(gc.freeze)
    try:
        app(given, prog_name="mill")
    except SystemExit as end:
        if end.code == INTERRUPTED and (given[:1] == ["run"] or given[:2] == ["corpus", "clean"]):
            print("stopped; the same command goes on where this one ended", file=sys.stderr)
        raise
    except MillError as error:
        if debug:
            raise
        print(redacted("\n".join([f"error: {error}", *_notes(error)])), file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if debug or error.errno not in _OWNERS:
            raise
        remedy = "free some space" if error.errno in _OWNERS[3:] else "make it writable"
        text = f"error: {error}; {remedy} or choose another place"
        print(redacted("\n".join([text, *_notes(error)])), file=sys.stderr)
        sys.exit(ArtifactError.exit_code)


def _notes(error: BaseException) -> list[str]:
    """Where a run ended and how it goes on, if it was one."""
    return list(getattr(error, "__notes__", ()))
