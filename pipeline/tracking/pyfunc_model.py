"""A language model for MLflow, in one file: what `models:/NAME@champion` runs.

    DataFrame of rows (prompt | messages, temperature, top_k, top_p, max_tokens, stop, seed)
        -> {"object", "model", "choices": [{"index", "text" | "message", "finish_reason"}], "usage"}

Logged as code, never imported by this project: it must run where only mlflow, torch, transformers
and safetensors are installed. The artifact `hf` is a Hugging Face directory with `gristmill.json`;
`sha256` lists the hash of each file in it, and an altered one is refused.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

COLUMNS = ("prompt", "messages", "temperature", "top_k", "top_p", "max_tokens", "stop", "seed")
ROLES = ("system", "user", "assistant")


class Sampling(NamedTuple):
    """How to choose tokens, and when to stop."""

    temperature: float
    top_k: int
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    seed: int | None


class Completion(NamedTuple):
    """What one prompt got."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class LanguageModel(PythonModel):
    """Loads the directory once; `predict` answers every prompt of every row, in order."""

    def load_context(self, context: Any) -> None:
        """Read weights, tokenizer and the prompt's form from the artifact `hf`."""
        directory = Path(context.artifacts["hf"])
        check_files(directory, Path(context.artifacts["sha256"]))
        self.facts = json.loads((directory / "gristmill.json").read_text(encoding="utf-8"))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.model: torch.nn.Module = model.eval()
        self.model.to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.defaults = GenerationConfig.from_pretrained(directory)
        self.limit = int(self.facts["context_length"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """One dict for the whole input; a parameter in a row counts before one in `params`."""
        rows = _rows(model_input)
        choices: list[dict[str, Any]] = []
        prompt_tokens = completion_tokens = 0
        chat = bool(rows) and all("messages" in row for row in rows)
        for row in rows:
            sampling = self._sampling({**_given(params or {}), **row})
            for ids, is_chat in self._prompts(row):
                done = self._complete(ids, sampling)
                choice: dict[str, Any] = {"index": len(choices)}
                if is_chat:
                    choice["message"] = {"role": "assistant", "content": done.text}
                else:
                    choice["text"] = done.text
                choices.append({**choice, "finish_reason": done.finish_reason})
                prompt_tokens += done.prompt_tokens
                completion_tokens += done.completion_tokens
        return {
            "object": "chat.completion" if chat else "text_completion",
            "model": self.facts["name"],
            "choices": choices,
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
        }

    def _prompts(self, row: dict[str, Any]) -> list[tuple[list[int], bool]]:
        """The token ids to continue: one for messages, one per string of `prompt`."""
        if ("prompt" in row) == ("messages" in row):
            raise _refused("give each row either prompt (a string or a list) or messages")
        if "messages" in row:
            return [(self._chat_ids(row["messages"]), True)]
        prompt = row["prompt"]
        texts = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise _refused(f"prompt={prompt!r:.200} is neither a string nor a list of strings")
        ids = self.facts["ids"]
        if self.facts["prompt_form"] == "answer":
            return [([*self._encode(text), ids["bos"]], False) for text in texts]
        return [([ids["bos"], *self._encode(text)], False) for text in texts]

    def _chat_ids(self, messages: Any) -> list[int]:
        """A conversation in the form the model was tuned on, built from ids: text cannot forge."""
        ids = self.facts["ids"]
        if self.facts["prompt_form"] != "answer":
            raise _refused(
                f"{self.facts['name']} continues text and was not tuned on conversations; "
                "use prompt, or ask the tuned model"
            )
        if not messages or messages[-1]["role"] == "assistant":
            raise _refused("messages must end with the user's turn")
        for message in messages:
            if message["role"] not in ROLES:
                raise _refused(
                    f"role {message['role']!r} is unknown; use one of {', '.join(ROLES)}"
                )
        if self.facts["message_form"] == "chat":
            built = [ids["bos"]]
            for message in messages:
                built += [ids[message["role"]], *self._encode(message["content"]), ids["end"]]
            return [*built, ids["assistant"]]
        built = []
        asked: list[str] = []
        for message in messages:
            if message["role"] == "assistant":
                built += [*self._encode("\n\n".join(asked)), ids["bos"]]
                built += [*self._encode(message["content"]), ids["eos"]]
                asked = []
            else:
                asked.append(message["content"])
        return [*built, *self._encode("\n\n".join(asked)), ids["bos"]]

    def _encode(self, text: str) -> list[int]:
        """Ordinary ids: special tokens written in the text stay text."""
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])

    def _decode(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)

    def _sampling(self, given: dict[str, Any]) -> Sampling:
        """The settings of a row, checked; defaults from generation_config.json."""
        fallback = self.defaults.temperature if self.defaults.do_sample else 0.0
        temperature = _number(given, "temperature", fallback, low=0.0, high=100.0)
        top_p = _number(given, "top_p", 1.0, low=0.0, high=1.0)
        top_k = _number(given, "top_k", self.defaults.top_k or 0, low=0, high=2**31)
        longest = _number(
            given, "max_tokens", self.defaults.max_new_tokens or 128, low=1, high=2**31
        )
        seed = _number(given, "seed", -1, low=0, high=2**63 - 1) if "seed" in given else None
        stop = given.get("stop", [])
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(s, str) for s in stops):
            raise _refused(f"stop={stop!r:.200} is neither a string nor a list of strings")
        return Sampling(
            float(temperature),
            _whole("top_k", top_k),
            float(top_p),
            _whole("max_tokens", longest),
            tuple(s for s in stops if s),
            None if seed is None else _whole("seed", seed),
        )

    @torch.inference_mode()
    def _complete(self, ids: list[int], sampling: Sampling) -> Completion:
        """Tokens one by one with a key-value cache until a stop id, a stop text or the limit."""
        room = self.limit - len(ids)
        if room < 1:
            raise _refused(
                f"the prompt has {len(ids)} tokens and leaves no room in the model's "
                f"{self.limit}; shorten it to at most {self.limit - 1} tokens"
            )
        if not ids:
            raise _refused("the prompt is empty; give at least one character")
        generator = torch.Generator(device=self.device)
        if sampling.seed is None:
            generator.seed()
        else:
            generator.manual_seed(sampling.seed)
        stop_ids = set(self.facts["stop_ids"])
        produced: list[int] = []
        cache = None
        inputs = torch.tensor([ids], device=self.device)  # (1, T)
        for _ in range(min(sampling.max_tokens, room)):
            output = self.model(input_ids=inputs, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            token = _choose(output.logits[0, -1].float(), sampling, generator)
            if token in stop_ids:
                return Completion(self._decode(produced), "stop", len(ids), len(produced))
            produced.append(token)
            if sampling.stop:
                text = self._decode(produced)
                found = [at for stop in sampling.stop if (at := text.find(stop)) >= 0]
                if found:
                    return Completion(text[: min(found)], "stop", len(ids), len(produced))
            inputs = torch.tensor([[token]], device=self.device)  # (1, 1)
        return Completion(self._decode(produced), "length", len(ids), len(produced))


def _choose(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token id from logits (V,): the best one at temperature 0, else sampled."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.numel():
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -math.inf)
    if sampling.top_p < 1:
        ordered, order = logits.softmax(-1).sort(descending=True)
        # Keep the smallest set whose probability reaches top_p, and always the best token.
        surplus = ordered.cumsum(-1) - ordered >= sampling.top_p
        surplus[0] = False
        logits = logits.index_fill(0, order[surplus], -math.inf)
    return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))


def _rows(model_input: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dicts without missing values."""
    rows = [_given(dict(row)) for row in model_input.to_dict("records")]
    if not rows or not any(rows):
        raise _refused('give the text by name: {"prompt": "..."} or {"messages": [...]}')
    return rows


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """Known names with a value; arrays become lists, absent (None, NaN) ones disappear."""
    given = {}
    for name in COLUMNS:
        value: Any = values.get(name)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, float) and math.isnan(value):
            continue
        if value is None or (name == "stop" and value == []):
            continue
        given[name] = value
    return given


def _number(values: dict[str, Any], name: str, default: float, *, low: float, high: float) -> float:
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _refused(f"{name}={value!r:.200} is not a number from {low} to {high}")
    return value


def _whole(name: str, value: float) -> int:
    if value != int(value):
        raise _refused(f"{name}={value} is not a whole number")
    return int(value)


def check_files(directory: Path, listed: Path) -> None:
    """Refuse files that are not those of the registration: `listed` has the sha256 of each."""
    for name, expected in json.loads(listed.read_text(encoding="utf-8")).items():
        path = directory / name
        found = "nothing"
        if path.is_file():
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise _refused(
                f"{path} was altered after it was registered: sha256 expected {expected}, found "
                f"{found}; register the model again or load another version"
            )


def _refused(message: str) -> MlflowException:
    """A mistake in the request: HTTP 400 from the scoring server."""
    return MlflowException.invalid_parameter_value(message)


mlflow.models.set_model(LanguageModel())
