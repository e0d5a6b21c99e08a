"""Generate with the plain Hugging Face directory. Needs: torch, transformers.

    python use_transformers.py runs/export/0123456789ab/hf "Return the"

The directory is artifacts/hf of a registered version, too:
    mlflow artifacts download --artifact-uri models:/pydocs@champion --dst-path model
    python use_transformers.py model/artifacts/hf "Return the"

A base model goes on with a text after bos; a tuned one answers in the form of its chat template.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Generate greedily, or by the directory's own generation_config.json with --sample."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--sample", action="store_true")
    given = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(given.directory)
    model = AutoModelForCausalLM.from_pretrained(given.directory).eval()
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": given.prompt}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    else:
        text = tokenizer.bos_token + given.prompt
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    how = {} if given.sample else {"do_sample": False}
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=given.max_tokens, **how)
    new = made[0, inputs["input_ids"].shape[1] :]
    print(tokenizer.decode(new, skip_special_tokens=True))


if __name__ == "__main__":
    main()
