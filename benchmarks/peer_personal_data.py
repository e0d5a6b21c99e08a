"""Runs in datatrove's environment: its PIIFormatter over JSON Lines, its processor seconds.

    python peer_personal_data.py IN.jsonl OUT.jsonl    {"text": ...} in, {"text", "formatted"} out

The stand-ins take turns anew in each document, as ours do; the formatter by itself would go on
where the document before ended, so that a text would depend on its neighbours.
"""

import json
import sys
import time

from datatrove.pipeline.formatters import PIIFormatter


def main(source: str, target: str) -> None:
    """Format every line; prints the seconds spent in the formatter."""
    formatter = PIIFormatter()
    with open(source, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    formatter.format("warm up a@b.com 8.8.8.8")
    formatted = []
    start = time.process_time()
    for text in texts:
        formatter.emails_replacer._replace_i = formatter.ip_replacer._replace_i = 0
        formatted.append(formatter.format(text))
    seconds = time.process_time() - start
    with open(target, "w", encoding="utf-8") as out:
        for text, new in zip(texts, formatted):  # noqa: B905
            out.write(json.dumps({"text": text, "formatted": new}) + "\n")
    print(seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
