"""A checkpoint as a Hugging Face directory that needs none of our code.

checkpoint, tokenizer, report -> hf/ config.json  model.safetensors  generation_config.json
                                     tokenizer.json  tokenizer_config.json  chat_template.jinja
                                     gristmill.json (the form of a prompt)  README.md

An encoder has neither generation_config.json nor a chat template; its tokenizer puts bos and eos
around a text, as the model has read it, that of an encoder-decoder eos behind it.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from model.architectures import BertClassifierConfig
from model.batch import Source
from model.checkpoint_io import load_model, save_tensors
from model.encoder_decoder import EncoderDecoder
from model.errors import WeightsError
from model.huggingface import export_weights
from model.language_model import LanguageModel
from pipeline.artifacts import (
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    ExportedModel,
    TrainedTokenizer,
)
from pipeline.reports.ancestry import ancestry_of
from pipeline.serving.forms import MessageForm, PromptForm, chat_template, forms_of, stop_ids
from pipeline.serving.model_card import CardFacts, Training, model_card
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError
from pipeline.store.files import read_json, write_json, write_text
from pipeline.store.fingerprint import plain, short
from pipeline.store.runtime import Runtime
from pipeline.tokens.huggingface import before_eos, between_bos_and_eos
from pipeline.tokens.tokenizer import SENTINEL, Tokenizer

VERSION = 2
LOGIT_TOLERANCE = 1e-5  # of the largest logit: float32, ours against transformers, same ids
CHECKED_TOKENS = 64


class ExportConfig(BaseModel):
    """What the exported directory says about itself, and how it generates by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        "gristmill",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        title="Name",
        description="of the model; in a run the registered name, unless set",
    )
    license: str = Field(
        "other", title="Licence", description="of the weights; check what the training text allows"
    )
    source_licenses: dict[str, str] = Field(
        {}, title="Licences of the sources",
        description="source name -> licence (an SPDX identifier where there is one), for the model "
        "card and the summary of the training content",
    )  # fmt: skip
    language: tuple[str, ...] = Field(("en",), title="Languages", description="ISO 639 codes")
    limits: str = Field(
        "A small model trained on little text: it states false things fluently. Not for use where "
        "an answer must be right.",
        title="Limits", description="what the model card warns of",
    )  # fmt: skip
    watts: float | None = Field(
        None, gt=0, title="Power",
        description="mean watts per process while training, for the energy estimate of the model "
        "card; null: 100 on a CPU, 700 on a GPU",
    )  # fmt: skip
    max_tokens: int = Field(
        128, ge=1, title="Longest answer", description="tokens, unless asked otherwise"
    )
    temperature: float = Field(
        0.8,
        ge=0,
        title="Temperature",
        description="of the base model; a tuned model answers greedily",
    )
    top_k: int = Field(50, ge=0, title="Top-k", description="of the base model; 0: all")


def export_model(
    config: ExportConfig,
    checkpoint: Checkpoint,
    tokenizer: TrainedTokenizer,
    report: EvalReport,
    *,
    root: Path,
    runtime: Runtime,
) -> ExportedModel:
    """Write the directory, then load it with `transformers` and compare logits.

    ArtifactError if the checkpoint cannot be read, the tokenizer does not fit it, the report is
    another checkpoint's, or the logits differ by more than 1e-5 of the
    largest.
    """
    if checkpoint.ref not in report.manifest.inputs:
        raise ArtifactError(
            f"{report.ref} measured {', '.join(report.manifest.inputs)}, not {checkpoint.ref}; "
            "evaluate this checkpoint first"
        )
    key = artifact_key("export", VERSION, config, [checkpoint.key, tokenizer.key, report.key])
    directory = root / "export" / short(key.fingerprint)

    def work(directory: Path) -> Outcome:
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        hf = directory / "hf"
        hf.mkdir()
        model, words = _open(checkpoint, tokenizer)
        forms = forms_of(checkpoint, root)
        card = _card_facts(config, checkpoint, report, words, model)
        _write_weights(model, words, hf)
        _write_tokenizer(tokenizer, words, model, forms, hf)
        if forms[0] not in ("fill", "classify"):
            _write_generation(config, words, forms, hf)
        write_json(hf / "gristmill.json", _description(config, checkpoint, words, model, forms))
        write_text(hf / "README.md", model_card(card, forms[0]))
        difference = _logit_difference(model, hf)
        task = {"task": checkpoint.facts["task"]} if forms[0] == "classify" else {}
        return Outcome({
            **task,
            "name": config.name,
            "checkpoint": checkpoint.ref,
            "report": report.ref,
            "prompt_form": forms[0],
            "message_form": forms[1],
            "num_parameters": model.num_parameters(),
            "weight_bytes": (hf / "model.safetensors").stat().st_size,
            "max_relative_logit_difference": difference,
        })  # fmt: skip

    build(key, directory, work, root=root, runtime=runtime)
    return ExportedModel(directory, key.fingerprint)


def _open(checkpoint: Checkpoint, tokenizer: TrainedTokenizer) -> tuple[LanguageModel, Tokenizer]:
    words = Tokenizer.load(tokenizer.path)
    try:
        model = load_model(checkpoint.weights_path.parent).eval()
    except WeightsError as error:
        raise ArtifactError(f"{checkpoint.ref} cannot be exported: {error}") from error
    if words.vocab_size > model.config.vocab_size:
        raise ArtifactError(
            f"{tokenizer.ref} has {words.vocab_size} ids, the model of {checkpoint.ref} only "
            f"{model.config.vocab_size}; export it with the tokenizer it was trained with"
        )
    return model, words


def _write_weights(model: LanguageModel, words: Tokenizer, hf: Path) -> None:
    try:
        hf_config, tensors = export_weights(model)
    except WeightsError as error:
        raise ArtifactError(f"the model cannot be exported: {error}") from error
    ids = {
        "bos_token_id": words.bos, "eos_token_id": words.eos, "pad_token_id": words.pad,
    }  # fmt: skip
    if isinstance(model, EncoderDecoder):
        ids["decoder_start_token_id"] = words.bos
    write_json(hf / "config.json", {**hf_config, **ids})
    save_tensors(tensors, hf / "model.safetensors", {"format": "pt"})
    (hf / "model.safetensors").chmod(0o644)  # safetensors writes 0600; others may serve it


def _write_tokenizer(
    tokenizer: TrainedTokenizer,
    words: Tokenizer,
    model: LanguageModel,
    forms: tuple[PromptForm, MessageForm],
    hf: Path,
) -> None:
    if forms[0] in ("fill", "classify", "rewrite"):
        described = read_json(tokenizer.path / "hf" / "tokenizer.json")
        around = before_eos if forms[0] == "rewrite" else between_bos_and_eos
        write_json(hf / "tokenizer.json", described | {"post_processor": around(words)})
    else:
        shutil.copyfile(tokenizer.path / "hf" / "tokenizer.json", hf / "tokenizer.json")
    document = read_json(tokenizer.path / "hf" / "tokenizer_config.json")
    document.pop("chat_template", None)
    document["model_max_length"] = model.config.context_length
    if forms[0] in ("fill", "classify"):  # the second of two texts is of type 1
        document["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    write_json(hf / "tokenizer_config.json", document)
    template = chat_template(*forms, words.specials)
    if template is not None:
        write_text(hf / "chat_template.jinja", template)


def _write_generation(
    config: ExportConfig, words: Tokenizer, forms: tuple[PromptForm, MessageForm], hf: Path
) -> None:
    document: dict[str, Any] = {
        "bos_token_id": words.bos,
        "eos_token_id": stop_ids(words, forms[0]),
        "pad_token_id": words.pad,
        "max_new_tokens": config.max_tokens,
    }
    if forms[0] == "rewrite":
        document["decoder_start_token_id"] = words.bos
    if forms[0] == "continue" and config.temperature > 0:
        document |= {"do_sample": True, "temperature": config.temperature, "top_k": config.top_k}
    write_json(hf / "generation_config.json", document)


def _description(
    config: ExportConfig,
    checkpoint: Checkpoint,
    words: Tokenizer,
    model: LanguageModel,
    forms: tuple[PromptForm, MessageForm],
) -> Mapping[str, Any]:
    roles: tuple[str, ...] = ("bos", "eos", "pad", "system", "user", "assistant", "end")
    if forms[0] == "fill":
        roles += ("mask",)
    classes: dict[str, Any] = {}
    if isinstance(model.config, BertClassifierConfig):
        classes = {"level": model.config.level, "labels": list(model.config.labels)}
    return {
        **classes,
        "name": _name(config, checkpoint, forms[0]),
        "checkpoint": checkpoint.ref,
        "prompt_form": forms[0],
        "message_form": forms[1],
        "context_length": model.config.context_length,
        "ids": {role: getattr(words, role) for role in roles},
        "stop_ids": stop_ids(words, forms[0]),
        **(
            {"sentinels": [SENTINEL.format(i) for i in range(len(words.sentinels))]}
            if forms[0] == "rewrite"
            else {}
        ),
        "tokenizer_sha256": words.sha256,
    }


def _name(config: ExportConfig, checkpoint: Checkpoint, form: PromptForm) -> str:
    """What it is called where it answers: as in the registry."""
    if form == "classify":
        return f"{config.name}-{checkpoint.facts['task']}"
    return f"{config.name}-base" if form == "continue" else config.name


def _card_facts(
    config: ExportConfig,
    checkpoint: Checkpoint,
    report: EvalReport,
    words: Tokenizer,
    model: LanguageModel,
) -> CardFacts:
    found = ancestry_of(checkpoint)
    ancestors: dict[str, Mapping[str, Any]] = {}
    for one in found.found[1:]:
        ancestors.setdefault(one.stage, {"ref": one.ref, **one.facts})
    corpus = found.first(CleanedCorpus)
    steps = corpus.manifest.config.get("steps") or () if corpus is not None else ()
    return CardFacts(
        name=_name(config, checkpoint, "classify") if "task" in checkpoint.facts else config.name,
        license=config.license,
        language=config.language,
        limits=config.limits,
        checkpoint=checkpoint.ref,
        facts=checkpoint.facts,
        training=plain(checkpoint.manifest.config),
        architecture=read_json(checkpoint.model_config_path),
        provenance=checkpoint.manifest.provenance,
        ancestors=ancestors,
        report=read_json(report.path / "report.json"),
        report_ref=report.ref,
        num_parameters=model.num_parameters(),
        vocab_size=words.vocab_size,
        licences=config.source_licenses,
        steps=[str(step.get("kind")) for step in steps],
        trainings=[_training(one) for one in found.of(Checkpoint) if one.facts.get("seconds")],
        watts=config.watts,
    )


def _training(checkpoint: Checkpoint) -> Training:
    facts = checkpoint.facts
    device = str(checkpoint.manifest.provenance.get("device") or "cpu")
    processes = int(facts.get("world_size") or 1)
    return Training(checkpoint.ref, float(facts["seconds"]), processes, device)


@torch.inference_mode()
def _logit_difference(model: LanguageModel, hf: Path) -> float:
    """The largest difference over a fixed input, relative to the largest logit (or to 1).

    ArtifactError above the tolerance. Sums of float32 products carry errors in proportion to their
    size: a trained model's logits reach 30, where an absolute 1e-5 is five units in the last place.
    """
    # transformers costs seconds, which a run that reuses its exports need not pay.
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )
    from transformers.utils import logging as transformers_logging

    length = min(CHECKED_TOKENS, model.config.context_length)
    # Multiples of a prime modulo the vocabulary: every run checks the same well-spread ids.
    ids = (torch.arange(length) * 7919 % model.config.vocab_size).unsqueeze(0)  # (1, T)
    transformers_logging.disable_progress_bar()
    family: Any = AutoModelForCausalLM
    if model.config.attention == "bidirectional":
        family = AutoModelForMaskedLM
    classes = model.config if isinstance(model.config, BertClassifierConfig) else None
    if classes is not None:
        of_texts = classes.level == "text"
        family = AutoModelForSequenceClassification if of_texts else AutoModelForTokenClassification
    if isinstance(model, EncoderDecoder):
        family = AutoModelForSeq2SeqLM
    theirs = family.from_pretrained(
        hf, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    read: dict[str, Any] = {}
    if isinstance(model, EncoderDecoder):  # the same ids as a source, in another order
        source = Source(ids.flip(1), torch.ones_like(ids))
        ours = model(ids, source=source)
        read = {"input_ids": source.inputs, "decoder_input_ids": ids}
    else:
        ours = model(ids)
        read = {"input_ids": ids}
    if classes is not None and classes.level == "text":
        ours = ours[:, 0]  # the class of the text is read at its first token
    scale = max(1.0, ours.abs().max().item())
    difference = (ours - theirs(**read).logits).abs().max().item() / scale
    if not difference <= LOGIT_TOLERANCE:  # NaN included
        raise ArtifactError(
            f"the exported model's logits differ from ours by {difference:.2e} of the "
            f"largest, allowed {LOGIT_TOLERANCE:.0e}; this architecture cannot be exported "
            "faithfully, report it"
        )
    return float(difference)
