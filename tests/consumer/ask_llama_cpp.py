"""What llama.cpp makes of a GGUF file; run beside `xllamacpp`, holds nothing of this project.

ask_llama_cpp.py MODEL.gguf   stdin {"prompts": [...], "turns": [...], "count": 16, ...}
    -> one JSON line: the ids of each prompt, the greedy tokens after it, at each of them the
       log probability of the whole vocabulary; the ids of the turns in the file's template
"""

import json
import sys
import urllib.request
from typing import Any

import xllamacpp


def main(path: str) -> None:
    """Load the file in llama.cpp's own server and ask it greedily, over HTTP on loopback."""
    asked = json.load(sys.stdin)
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = asked["context"]
    params.n_parallel = 1
    params.warmup = False
    # Keys, values and attention are rounded to 16 bits by default: fine for use, not to compare.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = 1
    params.port = 0
    server = xllamacpp.Server(params)

    def post(route: str, **body: Any) -> Any:
        request = urllib.request.Request(
            server.listening_address + route, json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    found = []
    for prompt in asked["prompts"]:
        ids = post("/tokenize", content=prompt, add_special=True, parse_special=False)["tokens"]
        made = post(
            "/completion", prompt=ids, n_predict=asked["count"], temperature=0,
            n_probs=asked["vocabulary"], return_tokens=True, cache_prompt=False,
            # Forbidden ids are never chosen; probabilities are those of the model all the same.
            logit_bias=[[token, False] for token in asked["forbidden"]],
        )  # fmt: skip
        steps = [
            {row["id"]: row["logprob"] for row in step["top_logprobs"]}
            for step in made["completion_probabilities"]
        ]
        found.append({"ids": ids, "tokens": made["tokens"], "steps": steps})
    turns = None
    if asked.get("turns"):
        text = post("/apply-template", messages=asked["turns"])["prompt"]
        turns = post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]
    print(json.dumps({"answers": found, "turns": turns}))


if __name__ == "__main__":
    main(sys.argv[1])
