"""Talk to `mill serve` through OpenAI's client. Needs: openai.

mill serve models:/pydocs@champion &
python use_openai_client.py "Parameters of\\nadd(\\na, b)\\n"
"""

import argparse
import sys

from openai import OpenAI


def main() -> None:
    """List the model, complete a prompt, then stream the same prompt as a conversation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("prompt")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--max-tokens", type=int, default=64)
    given = parser.parse_args()

    client = OpenAI(base_url=given.base_url, api_key="none")  # the server asks for no key
    model = client.models.list().data[0].id
    done = client.completions.create(
        model=model, prompt=given.prompt, max_tokens=given.max_tokens, temperature=0
    )
    print(f"{done.system_fingerprint}: {done.choices[0].text!r} ({done.usage.total_tokens} tokens)")
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": given.prompt}],
        max_tokens=given.max_tokens,
        temperature=0,
        stream=True,
    )
    for chunk in stream:
        sys.stdout.write(chunk.choices[0].delta.content or "")
        sys.stdout.flush()
    print()


if __name__ == "__main__":
    main()
