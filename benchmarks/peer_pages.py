"""Main text of web pages, one JSON object per line; runs in the peers' environment.

    python peer_pages.py FOLDER OUT.jsonl

Needs trafilatura and nothing of this project.
"""

import json
import sys
from pathlib import Path

import trafilatura


def main(folder: str, out: str) -> None:
    """Every page with text, in the order of the files' names."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix in (".html", ".htm"))
    with open(out, "w", encoding="utf-8") as file:
        for path in files:
            # FineWeb's setting: rather miss text than take menus with it.
            text = trafilatura.extract(path.read_bytes(), favor_precision=True)
            if text:
                file.write(json.dumps({"text": text, "id": path.stem}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
