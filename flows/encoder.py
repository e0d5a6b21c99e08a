"""The graph of an encoder: raw text in, a registered masked language model out.

    documents -> eval set, corpus -> tokenizer -> shards -> encoder -> report -> export -> registry
                 labels ------------------------------> classifiers --^

No examples, no fine-tuning and no baselines: it continues nothing, and what it is worth is measured
on hidden tokens.
"""

from dataclasses import asdict, dataclass

from flows import show
from flows.executing import execute
from flows.run import Call, Run
from flows.stages import (
    clean_corpus,
    evaluate_classes,
    evaluate_masked,
    export_model,
    freeze_eval_set,
    prepare_labels,
    pretrain,
    register,
    tokenize_corpus,
    train_classifier,
    train_tokenizer,
)
from pipeline.artifacts import (
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExportedModel,
    LabelSet,
    TokenShards,
    TrainedTokenizer,
)
from pipeline.config import ClassifySection, RunConfig
from pipeline.reports.report import RunFacts
from pipeline.stages.register import Registration


@dataclass(frozen=True)
class Classifier:
    """What one task of classification made of the encoder."""

    labels: LabelSet
    checkpoint: Checkpoint
    report: EvalReport
    model: ExportedModel
    version: Registration


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
    classifiers: tuple[Classifier, ...]


def graph(run: Run) -> Encoder:
    """The stages in order; Prefect is in it only if the run is orchestrated."""
    c = run.config
    eval_set = freeze_eval_set(run, c.eval_set, c.clean.sources)
    corpus = clean_corpus(run, c.clean, eval_set)
    tokenizer = train_tokenizer(run, c.tokenizer, corpus)
    shards = tokenize_corpus(run, c.tokenize, corpus, tokenizer)
    checkpoint = pretrain(run, c.pretrain, shards, tokenizer)
    trained = {
        name: _trained(run, name, task, eval_set, corpus, checkpoint, tokenizer)
        for name, task in c.classify.items()
    }
    measured = evaluate_masked(run, c.evaluate_masked, checkpoint, tokenizer, eval_set)
    reports = {
        name: evaluate_classes(run, c.classify[name].evaluation, one, tokenizer, labels, label=name)
        for name, (labels, one) in trained.items()
    }
    model = export_model(run, c.export, checkpoint, tokenizer, measured)
    models = {
        name: export_model(run, c.export, one, tokenizer, reports[name], label=name)
        for name, (_, one) in trained.items()
    }
    version = register(run, c.registry, model, measured, eval_set)
    classifiers = tuple(
        Classifier(
            labels, one, reports[name], models[name],
            register(run, c.registry, models[name], reports[name], labels, label=name),
        )
        for name, (labels, one) in trained.items()
    )  # fmt: skip
    return Encoder(
        eval_set, corpus, tokenizer, shards, checkpoint, measured, model, version, classifiers
    )


def _trained(
    run: Run,
    name: str,
    task: ClassifySection,
    eval_set: EvalSet,
    corpus: CleanedCorpus,
    encoder: Checkpoint,
    tokenizer: TrainedTokenizer,
) -> tuple[LabelSet, Checkpoint]:
    """The labels of a task, and the encoder taught to tell them apart."""
    labels = prepare_labels(run, task.labels, name, eval_set, corpus, label=name)
    return labels, train_classifier(run, task.training, encoder, labels, tokenizer, label=name)


def report(run: Run, made: Encoder) -> None:
    """Write the report and show its short form where the run is watched."""
    facts = RunFacts(
        run_id=run.run_id,
        eval_set=made.eval_set, corpus=made.corpus, tokenizer=made.tokenizer, shards=made.shards,
        base=made.checkpoint, masked_eval=made.report, base_hf=made.model,
        class_evals=tuple(one.report for one in made.classifiers),
        registrations=[
            asdict(version)
            for version in (made.version, *(one.version for one in made.classifiers))
        ],
        stages=[asdict(record) for record in run.records],
        predictions=run.predictions,
    )  # fmt: skip
    show.finish(run, facts)


def run_encoder(config: RunConfig, call: Call, *, orchestrated: bool) -> Encoder | None:
    """The graph and its report, with Prefect around the stages or without."""
    return execute(
        config, graph, name="encoder", call=call, orchestrated=orchestrated, finish=report,
    )  # fmt: skip
