"""Ask `mlflow models serve`, which answers at /invocations. Needs nothing but Python.

    MLFLOW_TRACKING_URI=sqlite:////data/runs/mlflow.db \\
        mlflow models serve -m models:/pydocs@champion --env-manager local -p 5001 &
    python post_invocations.py "Parameters of\\nadd(\\na, b)\\n"

That server has no /v1 routes and streams nothing: `mill serve` does. It keeps the version that was
champion when it started; start it anew after a promotion, or use serve_champion.py.
"""

import argparse
import json
import urllib.error
import urllib.request


def main() -> None:
    """Send one prompt, then the same as a conversation if the model is tuned on some."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prompt")
    parser.add_argument("--url", default="http://127.0.0.1:5001/invocations")
    parser.add_argument("--max-tokens", type=int, default=64)
    given = parser.parse_args()

    print(post(given.url, {"prompt": given.prompt, "max_tokens": given.max_tokens}))
    # Rows of a table work as well; their answers stand below "predictions":
    #     {"inputs": [{"prompt": "a"}, {"prompt": "b"}], "params": {"max_tokens": 8}}
    messages = [{"role": "user", "content": given.prompt}]
    print(post(given.url, {"messages": messages, "max_tokens": given.max_tokens}))


def post(url: str, body: dict) -> str:
    """The answer as JSON text; the server's own words for a request it refuses."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"


if __name__ == "__main__":
    main()
