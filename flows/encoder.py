"""The graph of an encoder: raw text in, a registered masked language model out.

    documents -> eval set, corpus -> tokenizer -> shards -> encoder -> report -> export -> registry

No examples, no fine-tuning and no baselines: it continues nothing, and what it is worth is measured
on hidden tokens.
"""

from dataclasses import asdict, dataclass

from flows import show
from flows.executing import execute
from flows.run import Call, Run
from flows.stages import (
    clean_corpus,
    evaluate_masked,
    export_model,
    freeze_eval_set,
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
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
)
from pipeline.config import RunConfig
from pipeline.reports.report import RunFacts
from pipeline.stages.register import Registration


@dataclass(frozen=True)
class Encoder:
    """Everything the graph made."""

    eval_set: EvalSet
    corpus: CleanedCorpus
    tokenizer: TrainedTokenizer
    shards: TokenShards
    checkpoint: Checkpoint
    report: EvalReport
    model: ExportedModel
    version: Registration


def graph(run: Run) -> Encoder:
    """The stages in order; Prefect is in it only if the run is orchestrated."""
    c = run.config
    eval_set = freeze_eval_set(run, c.eval_set, c.clean.sources)
    corpus = clean_corpus(run, c.clean, eval_set)
    tokenizer = train_tokenizer(run, c.tokenizer, corpus)
    shards = tokenize_corpus(run, c.tokenize, corpus, tokenizer)
    checkpoint = pretrain(run, c.pretrain, shards, tokenizer)
    measured = evaluate_masked(run, c.evaluate_masked, checkpoint, tokenizer, eval_set)
    model = export_model(run, c.export, checkpoint, tokenizer, measured)
    version = register(run, c.registry, model, measured, eval_set)
    return Encoder(eval_set, corpus, tokenizer, shards, checkpoint, measured, model, version)


def report(run: Run, made: Encoder) -> None:
    """Write the report and show its short form where the run is watched."""
    facts = RunFacts(
        run_id=run.run_id,
        eval_set=made.eval_set, corpus=made.corpus, tokenizer=made.tokenizer, shards=made.shards,
        base=made.checkpoint, masked_eval=made.report, base_hf=made.model,
        registrations=[asdict(made.version)],
        stages=[asdict(record) for record in run.records],
        predictions=run.predictions,
    )  # fmt: skip
    show.finish(run, facts)


def run_encoder(config: RunConfig, call: Call, *, orchestrated: bool) -> Encoder | None:
    """The graph and its report, with Prefect around the stages or without."""
    return execute(
        config, graph, name="encoder", call=call, orchestrated=orchestrated, finish=report,
    )  # fmt: skip
