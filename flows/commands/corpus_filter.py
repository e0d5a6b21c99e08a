"""`mill corpus train-filter`: labelled examples in, a filter for `kind: classifier` out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.store.errors import ConfigError

PositiveOption = Annotated[
    Path | None,
    typer.Option("--positive", help="JSON Lines (.gz, .zst) of what the score 1 stands for."),
]
NegativeOption = Annotated[
    Path | None, typer.Option("--negative", help="JSON Lines of everything else.")
]
LabelledOption = Annotated[
    Path | None,
    typer.Option("--labelled", help="One file of both instead, with a label on each line."),
]
OutOption = Annotated[Path, typer.Option("--out", help="Directory of the trained filter.")]
TextOption = Annotated[str, typer.Option("--text-field", help="Key of the text on each line.")]
LabelOption = Annotated[str, typer.Option("--label-field", help="Key of the label.")]
PositiveLabelOption = Annotated[
    str, typer.Option("--positive-label", help="The label that is positive; all others are not.")
]
KeepOption = Annotated[
    str,
    typer.Option(
        "--keep",
        help="above: positives are wanted (quality). below: they are not (toxicity).",
    ),
]
ShareOption = Annotated[
    float | None,
    typer.Option(
        "--keep-share",
        help="Set the threshold so that this share of the calibration texts stays, such as 0.1. "
        "Without it the threshold is 0.5.",
    ),
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option(
        "--calibrate",
        help="JSON Lines of the corpus to be filtered, a sample; default: the held-out examples.",
    ),
]
BytesOption = Annotated[
    int | None,
    typer.Option(
        "--byte-ngram", help="Also look at n-grams of so many bytes: sees odd spellings; slower."
    ),
]
EpochsOption = Annotated[int, typer.Option("--epochs", help="Passes over the examples.")]
RateOption = Annotated[float, typer.Option("--learning-rate", help="Of AdaGrad.")]
BitsOption = Annotated[int, typer.Option("--bits", help="2^bits weights; 18 makes 1 MB.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Order of the examples, held-out choice.")]


def train_filter_command(
    out: OutOption,
    positive: PositiveOption = None,
    negative: NegativeOption = None,
    labelled: LabelledOption = None,
    text_field: TextOption = "text",
    label_field: LabelOption = "label",
    positive_label: PositiveLabelOption = "1",
    keep: KeepOption = "above",
    keep_share: ShareOption = None,
    calibrate: CalibrateOption = None,
    byte_ngram: BytesOption = None,
    epochs: EpochsOption = 10,
    learning_rate: RateOption = 1.0,
    bits: BitsOption = 18,
    seed: SeedOption = 0,
) -> None:
    """Train a linear filter on labelled examples; takes seconds, needs no GPU.

    A quality filter, which keeps the tenth of the corpus that is most like good.jsonl:

    \b
        mill corpus train-filter --positive good.jsonl --negative crawl.jsonl
            --keep-share 0.1 --calibrate crawl.jsonl --out filters/quality

    A toxicity filter from one labelled file:

    \b
        mill corpus train-filter --labelled comments.jsonl --label-field toxic
            --keep below --out filters/toxicity

    Then list it among the steps of `clean`:

    \b
        {kind: classifier, model: filters/quality}
    """
    from pydantic import ValidationError  # heavy

    from pipeline.corpus.classifying.examples import read_labelled, read_pair, read_texts
    from pipeline.corpus.classifying.linear import save_filter
    from pipeline.corpus.classifying.training import FilterConfig, train_filter

    try:
        config = FilterConfig.model_validate(
            {
                "bits": bits, "byte_ngram": byte_ngram, "epochs": epochs, "seed": seed,
                "learning_rate": learning_rate, "keep": keep, "keep_share": keep_share,
            }
        )  # fmt: skip
    except ValidationError as error:
        lines = (f"--{str(e['loc'][0]).replace('_', '-')}={e['input']!r}: {e['msg']}"
                 for e in error.errors(include_url=False))  # fmt: skip
        raise ConfigError("; ".join(lines)) from error
    pair = positive is not None and negative is not None
    if pair == (labelled is not None) or (labelled and (positive or negative)):
        raise ConfigError("give --positive with --negative, or --labelled alone")
    if labelled is not None:
        examples = read_labelled(
            labelled,
            text_field=text_field,
            label_field=label_field,
            positive_label=positive_label,
        )
    else:
        assert positive is not None and negative is not None
        examples = read_pair(positive, negative, text_field=text_field)
    calibration = read_texts(calibrate, text_field=text_field)[0] if calibrate else None
    trained = train_filter(
        config,
        examples.positives,
        examples.negatives,
        calibration=calibration,
        facts={"bad_lines": examples.bad_lines},
    )
    save_filter(trained, out)
    print("\n".join(report(trained.facts, trained.threshold, trained.keep)))
    print(f"wrote {out}; use it with {{kind: classifier, model: {out}}}")


def report(facts: dict[str, Any], threshold: float, keep: str) -> list[str]:
    """What a person wants to know of a trained filter."""
    examples, held, base = (facts[name] for name in ("examples", "held_out", "calibration"))
    lines = [
        f"examples   {examples['positives']} positive, {examples['negatives']} negative; "
        f"{examples['repeated']} repeated ones counted once, {examples['on_both_sides']} on both "
        f"sides left out, {facts.get('bad_lines', 0)} unusable lines",
        f"held out   {held['texts']} texts: accuracy {held['accuracy']:.3f} "
        f"{_interval(held['accuracy_interval'])}, AUC {held['auc']:.3f} "
        f"{_interval(held['auc_interval'])}",
        f"threshold  {threshold:.4f}: scores {'>=' if keep == 'above' else '<='} it stay, "
        f"{base['kept_share']:.1%} of {base['texts']} calibration texts",
    ]
    if held["auc_interval"][0] <= 0.5:
        lines.append("warning    the held-out AUC may be chance; give more or clearer examples")
    return lines


def _interval(ends: list[float]) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"
