"""llama.cpp reads our GGUF file as transformers reads the directory it was made from."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.peer_environment import environment
from model.architectures import GPT2Config, Qwen3Config
from model.language_model import LanguageModel
from model.rotary import Llama3RopeScaling
from pipeline.serving.forms import chat_template, message_ids
from pipeline.serving.gguf_export import export_gguf
from pipeline.store.errors import ConfigError
from pipeline.store.files import write_json
from tests.consumer.conftest import alone
from tests.serving.test_gguf import directory, llama, words

pytestmark = [pytest.mark.consumer, pytest.mark.timeout(600)]

PROMPTS = ["the thing", "héllo\n  猫  in the 12345 baths<|eos|>", "def f(x):\n\treturn x\r\n\n'S "]
COUNT = 24
CONTEXT = 128
TOLERANCE = {"gpt2": 5e-3, "llama": 5e-5, "llama3": 5e-5, "qwen3": 5e-5}
"""Nats, of any token of the vocabulary. llama.cpp looks GELU up in a table of 16-bit numbers."""
FORBIDDEN = [*range(128, 256), *range(258, 272)]
"""Tokens that end within a character, whose probabilities it does not tell, and special ones."""
CHAT = [
    {"role": "system", "content": "the"}, {"role": "user", "content": "a 'b' <"},
    {"role": "assistant", "content": "c"}, {"role": "user", "content": "d"},
]  # fmt: skip


@pytest.fixture(scope="session")
def llama_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with llama.cpp; in the folder GRISTMILL_PEERS names, if it is set."""
    kept = os.environ.get("GRISTMILL_PEERS")
    try:
        folder = Path(kept) if kept else tmp_path_factory.mktemp("peers")
        return environment(folder, "llama-cpp")
    except ConfigError as error:
        pytest.skip(f"no llama.cpp for this machine: {error}")


def built(kind: str) -> LanguageModel:
    """A model whose layers all matter: large weights, norms and biases unlike one another."""
    shape = {"vocab_size": 272, "context_length": CONTEXT, "width": 64, "layers": 2, "heads": 4}
    if kind == "gpt2":
        model = GPT2Config(**shape, hidden_width=256).build(seed=1)
    elif kind == "qwen3":
        model = Qwen3Config(**shape, kv_heads=2, head_width=32, hidden_width=96).build(seed=1)
    elif kind == "llama":
        model = llama(**shape, kv_heads=2, hidden_width=96)
    else:
        scaling = Llama3RopeScaling(factor=8.0, original_context_length=16)
        model = llama(**shape, kv_heads=1, hidden_width=96, rope_scaling=scaling)
    chance = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(4.0 if value.ndim > 1 else 1.0)
            value.add_(torch.randn(value.shape, generator=chance) * 0.1)
    return model


def asked(python: Path, file: Path, turns: list[dict[str, str]] | None = None) -> dict:
    script = Path(__file__).with_name("ask_llama_cpp.py")
    question = {"prompts": PROMPTS, "count": COUNT, "vocabulary": 272, "context": CONTEXT,
                "forbidden": FORBIDDEN, "turns": turns}  # fmt: skip
    done = subprocess.run(
        [str(python), "-I", str(script), str(file)], input=json.dumps(question), env=alone(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama3", "qwen3"])
def test_llama_cpp_gives_transformers_tokens_and_log_probabilities(
    tmp_path: Path, llama_python: Path, kind: str
) -> None:
    tokenizer = words("gpt2" if kind == "gpt2" else "cl100k")
    hf = directory(built(kind), tmp_path / "hf", tokenizer)
    export_gguf(hf, tmp_path / "model.gguf")
    theirs = AutoModelForCausalLM.from_pretrained(hf, dtype=torch.float32).eval()
    for prompt, found in zip(
        PROMPTS, asked(llama_python, tmp_path / "model.gguf")["answers"], strict=True
    ):
        ids = [tokenizer.bos, *tokenizer.encode(prompt)]
        assert found["ids"] == ids, "llama.cpp cuts the text as we do"
        with torch.inference_mode():
            made = theirs.generate(
                torch.tensor([ids]), max_new_tokens=COUNT, do_sample=False,
                suppress_tokens=FORBIDDEN, pad_token_id=0,
            )[0, len(ids) :].tolist()  # fmt: skip
            logits = theirs(torch.tensor([ids + made])).logits[0, len(ids) - 1 : -1]
        assert found["tokens"] == made
        assert len(set(made)) >= 3, "one token over and over would tell little"
        told = torch.tensor([[step[str(i)] for i in range(272)] for step in found["steps"]])
        assert told.shape == logits.shape
        assert (told - logits.log_softmax(-1)).abs().max() < TOLERANCE[kind]


@pytest.mark.parametrize("form", ["pair", "chat"])
def test_llama_cpp_renders_a_conversation_in_the_form_of_training(
    tmp_path: Path, llama_python: Path, form: str
) -> None:
    tokenizer = words()
    hf = directory(built("qwen3"), tmp_path / "hf", tokenizer)
    template = chat_template("answer", form, tokenizer.specials)  # type: ignore[arg-type]
    assert template is not None
    (hf / "chat_template.jinja").write_text(template, encoding="utf-8")
    roles = ("bos", "eos", "pad", "system", "user", "assistant", "end")
    write_json(hf / "gristmill.json", {
        "name": "small", "prompt_form": "answer", "message_form": form,
        "ids": {role: getattr(tokenizer, role) for role in roles},
    })  # fmt: skip
    export_gguf(hf, tmp_path / "model.gguf")
    expected = message_ids(CHAT, tokenizer, "answer", form)  # type: ignore[arg-type]
    assert asked(llama_python, tmp_path / "model.gguf", CHAT)["turns"] == expected
