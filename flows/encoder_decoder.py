"""The graph of an encoder-decoder: raw text in, a registered model out that writes targets.

    documents -> eval set, corpus -> tokenizer -> shards -> base -> report -> export -> registry
                          '-> pairs ------------------------> tuned --^

With the sections examples and finetune it is tuned on pairs, measured on those held out and
registered so; its base stays a checkpoint. Without them the base is measured on what was cut out of
held-out text. No baselines: none of them writes targets.
"""

from dataclasses import asdict, dataclass

from flows import show
from flows.executing import execute
from flows.run import Call, Run
from flows.stages import (
    clean_corpus,
    evaluate_targets,
    export_model,
    finetune,
    freeze_eval_set,
    prepare_examples,
    pretrain,
    register,
    tokenize_corpus,
    train_tokenizer,
)
from pipeline.artifacts import (
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
)
from pipeline.config import RunConfig
from pipeline.reports.report import RunFacts
from pipeline.stages.register import Registration


@dataclass(frozen=True)
class EncoderDecoder:
    """Everything the graph made."""

    eval_set: EvalSet
    corpus: CleanedCorpus
    tokenizer: TrainedTokenizer
    shards: TokenShards
    examples: ExampleSet | None
    base: Checkpoint
    tuned: Checkpoint | None
    report: EvalReport
    model: ExportedModel
    version: Registration


def graph(run: Run) -> EncoderDecoder:
    """The stages in order; Prefect is in it only if the run is orchestrated."""
    c = run.config
    eval_set = freeze_eval_set(run, c.eval_set, c.clean.sources)
    corpus = clean_corpus(run, c.clean, eval_set)
    tokenizer = train_tokenizer(run, c.tokenizer, corpus)
    shards = tokenize_corpus(run, c.tokenize, corpus, tokenizer)
    base = pretrain(run, c.pretrain, shards, tokenizer)
    examples = tuned = None
    if c.examples is not None and c.finetune is not None:
        examples = prepare_examples(run, c.examples, eval_set, corpus)
        tuned = finetune(run, c.finetune, base, examples, tokenizer, shards)
    final, asked = tuned or base, (eval_set,) if examples is None else (eval_set, examples)
    measured = evaluate_targets(run, c.evaluate_targets, final, tokenizer, *asked)
    model = export_model(run, c.export, final, tokenizer, measured)
    version = register(run, c.registry, model, measured, eval_set)
    return EncoderDecoder(
        eval_set, corpus, tokenizer, shards, examples, base, tuned, measured, model, version
    )


def report(run: Run, made: EncoderDecoder) -> None:
    """Write the report and show its short form where the run is watched."""
    facts = RunFacts(
        run_id=run.run_id,
        eval_set=made.eval_set, corpus=made.corpus, tokenizer=made.tokenizer, shards=made.shards,
        examples=made.examples, base=made.base, tuned=made.tuned, masked_eval=made.report,
        base_hf=made.model if made.tuned is None else None,
        tuned_hf=made.model if made.tuned is not None else None,
        registrations=[asdict(made.version)],
        stages=[asdict(record) for record in run.records],
        predictions=run.predictions,
    )  # fmt: skip
    show.finish(run, facts)


def run_encoder_decoder(
    config: RunConfig, call: Call, *, orchestrated: bool
) -> EncoderDecoder | None:
    """The graph and its report, with Prefect around the stages or without."""
    return execute(
        config, graph, name="encoder-decoder", call=call, orchestrated=orchestrated, finish=report,
    )  # fmt: skip
