"""Ask the champion of a registered model. Needs: mlflow, torch, transformers, safetensors.

    python ask_champion.py sqlite:////data/runs/mlflow.db models:/pydocs@champion "Parameters of"
    python ask_champion.py http://127.0.0.1:5000 models:/pydocs@champion "..." --temperature 0.8

`predict` answers one prompt, a list of prompts, or messages; the settings may stand in the input or
in `params`. What it returns has the shape of OpenAI's completions.
"""

import argparse
import json

import mlflow


def main() -> None:
    """Load the model once, answer every prompt of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("uri", help="MLflow's tracking store: an address or an SQLite file")
    parser.add_argument("model", help="models:/NAME@champion or models:/NAME/3")
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--stop", action="append", default=[])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--chat", action="store_true", help="as the user's turn of a conversation")
    given = parser.parse_args()

    mlflow.set_tracking_uri(given.uri)
    model = mlflow.pyfunc.load_model(given.model)
    params = {
        "max_tokens": given.max_tokens, "temperature": given.temperature, "stop": given.stop,
    } | ({} if given.seed is None else {"seed": given.seed})  # fmt: skip
    if given.chat:
        asked = [{"messages": [{"role": "user", "content": prompt}]} for prompt in given.prompts]
    else:
        asked = [{"prompt": prompt} for prompt in given.prompts]
    print(json.dumps(model.predict(asked, params=params), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
