"""The grouped commands of `mill`: corpus, sft, tokenizer, store, registry, export.

Heavy packages are imported inside the commands: `mill --help` must answer at once.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.corpus_filter import train_filter_command

RootOption = Annotated[
    Path, typer.Option("--root", help="Where artifacts and stores live.", show_default=True)
]
UriOption = Annotated[
    str | None,
    typer.Option(
        "--uri",
        help="An MLflow tracking server; default: the store in which this root registered it.",
    ),
]
ConfigArgument = Annotated[
    Path, typer.Argument(help="A settings file, for example flows/configs/pydocs.yaml.")
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Overrides: section.key=value, for example pretrain.seed=7.", metavar="[a.b=c]..."
    ),
]

corpus_app = typer.Typer(
    help="Clean a corpus, judge it again, report it, train filters.", no_args_is_help=True
)
sft_app = typer.Typer(help="Look at fine-tuning examples.", no_args_is_help=True)
tokenizer_app = typer.Typer(help="Import and look at tokenizers.", no_args_is_help=True)
store_app = typer.Typer(help="Verify, sync and look into the store.", no_args_is_help=True)
registry_app = typer.Typer(help="Move the champion alias.", no_args_is_help=True)


export_app = typer.Typer(help="Write a model in a form for other programs.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add all groups."""
    app.add_typer(corpus_app, name="corpus")
    app.add_typer(sft_app, name="sft")
    app.add_typer(tokenizer_app, name="tokenizer")
    app.add_typer(store_app, name="store")
    app.add_typer(registry_app, name="registry")
    app.add_typer(export_app, name="export")


@corpus_app.command("clean")
def corpus_clean(config: ConfigArgument, overrides: OverridesArgument = None) -> None:
    """Clean the text of a settings file; needs its sections eval_set and clean alone."""
    from flows.commands.corpus_clean import clean_of_settings

    clean_of_settings(config, overrides or [])


@corpus_app.command("rejudge")
def corpus_rejudge(
    target: Annotated[str, typer.Argument(help="A settings file, clean@fp or a directory.")],
    overrides: OverridesArgument = None,
    examples: Annotated[
        int, typer.Option(min=0, help="Documents to name whose fate changes.")
    ] = 10,
    root: RootOption = Path("runs"),
) -> None:
    """Show what other thresholds would keep and drop, from the stored measures alone."""
    from flows.commands.corpus import rejudge_corpus

    rejudge_corpus(target, overrides or [], examples=examples, root=root)


@corpus_app.command("report")
def corpus_report(
    corpus: Annotated[str, typer.Argument(help="A settings file, clean@fp or a directory.")],
    root: RootOption = Path("runs"),
) -> None:
    """Write the report of a cleaned corpus as one HTML page."""
    from flows.commands.corpus import report_corpus

    report_corpus(corpus, root=root)


corpus_app.command("train-filter")(train_filter_command)


@sft_app.command("preview")
def sft_preview(
    thing: Annotated[
        str, typer.Argument(help="examples@fp, finetune@fp, a data file or a saved dataset")
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(help="tokenizer@fp or a directory; default: the model's, else the newest"),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or held_out")] = "train",
    count: Annotated[int, typer.Option("--count", "-n", min=1)] = 3,
    train_on: Annotated[
        Literal["all", "last"] | None,
        typer.Option(help="Which turns of a conversation are trained; default: the model's."),
    ] = None,
    row_format: Annotated[
        Literal["pair", "messages", "alpaca", "sharegpt"] | None,
        typer.Option("--format", help="Of a file's rows; default: told by the first one."),
    ] = None,
    ignored_keys: Annotated[
        list[str] | None, typer.Option("--ignore", help="A key that means nothing; repeatable.")
    ] = None,
    root: RootOption = Path("runs"),
) -> None:
    """Show examples with the tokens that are trained coloured."""
    from flows.commands.sft import preview_examples

    preview_examples(
        thing, tokenizer=tokenizer, split=split, count=count, train_on=train_on,
        shape=row_format, ignored_keys=ignored_keys or (), root=root,
    )  # fmt: skip


@tokenizer_app.command("import")
def tokenizer_import(
    file: Annotated[
        Path, typer.Argument(help="A .tiktoken ranks file, or tiktoken's cache folder.")
    ],
    into: Annotated[Path, typer.Argument(help="The folder to copy it into.")],
) -> None:
    """Check a published encoding's ranks by sha256 and copy them; nothing is ever deleted."""
    from flows.commands.store import import_tokenizer

    import_tokenizer(file, into)


@tokenizer_app.command("inspect")
def tokenizer_inspect(
    tokenizer: Annotated[str, typer.Argument(help="tokenizer@fp or a directory")],
    text: Annotated[str, typer.Argument()],
    root: RootOption = Path("runs"),
) -> None:
    """Show how a text is cut into tokens."""
    from flows.commands.store import inspect_tokenizer

    inspect_tokenizer(tokenizer, text, root=root)


@store_app.command("verify")
def store_verify(root: RootOption = Path("runs")) -> None:
    """Check every byte of every artifact against its manifest."""
    from flows.commands.store import verify_store

    verify_store(root)


@store_app.command("gc")
def store_gc(
    root: RootOption = Path("runs"),
    uri: Annotated[
        str | None,
        typer.Option(help="An MLflow tracking server; default: the store under the root."),
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0.0, help="Runs begun in these days keep all they used.")
    ] = 14.0,
    keep_runs: Annotated[
        int, typer.Option(min=0, help="The newest runs keep all they used, however old.")
    ] = 5,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only show.")] = False,
) -> None:
    """Remove what no registered model, frozen set or recent run needs; shows it first."""
    from flows.commands.garbage import collect_garbage

    collect_garbage(root, uri=uri, keep_days=keep_days, keep_runs=keep_runs, yes=yes)


@store_app.command("shards")
def store_shards(
    shards: Annotated[str, typer.Argument(help="tokenize@fp or a directory")],
    samples: Annotated[int, typer.Option(min=0, help="Decoded documents to print.")] = 3,
    root: RootOption = Path("runs"),
) -> None:
    """Show counts, lengths and decoded samples of token shards."""
    from flows.commands.store import show_shards

    show_shards(shards, samples=samples, root=root)


@store_app.command("sync")
def store_sync(
    root: RootOption = Path("runs"),
    uri: Annotated[
        str | None,
        typer.Option(help="An MLflow tracking server; default: the store under the root."),
    ] = None,
) -> None:
    """Send to MLflow what the journals hold and it lacks; rebuild a deleted or moved mlflow.db."""
    from flows.commands.store import sync_store

    sync_store(root, uri=uri)


@registry_app.command("promote")
def registry_promote(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[int, typer.Argument(min=1)],
    root: RootOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Make a version the champion by hand; the former one becomes `previous`."""
    from flows.commands.registry import promote_version

    promote_version(name, version, root=root, uri=uri)


@registry_app.command("rollback")
def registry_rollback(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    root: RootOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Give `champion` back to the version that had it before."""
    from flows.commands.registry import rollback_version

    rollback_version(name, root=root, uri=uri)


@export_app.command("gguf")
def export_gguf(
    model: Annotated[
        str, typer.Argument(help="export@fp, models:/NAME@champion, a Hugging Face directory.")
    ],
    target: Annotated[Path, typer.Argument(help="The file to write, model.gguf.")],
    precision: Annotated[
        Literal["f32", "f16", "bf16", "q8_0"], typer.Option(help="Of the matrices.")
    ] = "f32",
    root: RootOption = Path("runs"),
    uri: UriOption = None,
) -> None:
    """Write one file for llama.cpp."""
    from flows.commands.export_gguf import write_gguf  # heavy: torch

    write_gguf(model, target, precision=precision, root=root, uri=uri)
