"""Manual pages of a Debian package as plain text files: real text in many languages, for tests.

    python -m benchmarks.manpages OUT                               manpages-zh
    python -m benchmarks.manpages OUT --package manpages-de --package manpages-ja
    python -m benchmarks.manpages OUT --deb manpages-zh_1.6.4.0-1_all.deb

OUT/PACKAGE/zh_CN/man1/ls.1.txt, one per page. Needs apt-get and dpkg-deb, that is Debian or
Ubuntu, but no root: packages are downloaded and unpacked in a temporary folder, the renderer
mandoc too where it is not installed. The texts stay yours; nothing of them is committed here.
"""

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.store.errors import ConfigError, DataError, MillError
from pipeline.store.files import check_name

WIDTH = 1_000  # columns, the most mandoc takes: nearly every paragraph stays on one line
MARGIN = 10  # columns that mandoc may leave empty at the right
INDENT = 7  # mandoc's columns before the text of a section
NOTICE_SHARE = 0.02  # a paragraph on more of a package's pages is a notice; a guess, looked at
NOTICE_CHARS = 12  # headings and words such as "none" are shorter
_DRAWN = re.compile(r"[_─━=*-]{20,}")  # a rule across the page, here as long as WIDTH
_OVERSTRIKE = re.compile(".\b")
# The renderer joins source lines by a space, which between two of these has no place.
_WIDE = "[\u2e80-\u303f\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
_JOINT = re.compile(f"(?<={_WIDE}) (?={_WIDE})")


def render_package(
    package: str, out: Path, *, deb: Path | None = None, mandoc: str = "mandoc"
) -> Counter[str]:
    """Write every page of a package to `out`/`package`; how many pages were written and why not.

    DataError when the package cannot be had or holds no page.
    """
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="manpages-") as temporary:
        deb = deb or download(package, Path(temporary))
        unpacked = Path(temporary) / "unpacked"
        _run(["dpkg-deb", "-x", str(deb), str(unpacked)])
        root = unpacked / "usr/share/man"
        pages = [path for path in sorted(root.rglob("*.gz")) if path.is_file()]
        if not pages:
            raise DataError(f"{deb.name} holds no page below usr/share/man")
        sources: dict[bytes, Path] = {}
        for path in pages:
            if path.is_symlink():
                counts["link"] += 1
                continue
            source = gzip.decompress(path.read_bytes())
            if re.match(rb"(\s*\.?\\\".*\n)*\.so ", source):
                counts["refers to another page"] += 1
            elif source in sources:
                counts["duplicate"] += 1
            else:
                sources[source] = path
        with ThreadPoolExecutor() as threads:  # the work is in child processes
            texts = list(threads.map(lambda source: render(source, mandoc), sources))
        texts, counts["notices cut"] = without_notices(texts)
        for path, text in zip(sources.values(), texts, strict=True):
            if not text:
                counts["renders to nothing"] += 1
                continue
            target = out / package / path.relative_to(root).with_suffix(".txt")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            counts["written"] += 1
    return counts


def render(source: bytes, mandoc: str = "mandoc") -> str:
    """The text of one roff page: no title lines, no indent of sections, one line per paragraph.

    "" where the page has no text.
    """
    command = [mandoc, "-K", "utf-8", "-T", "utf8", "-O", f"width={WIDTH}"]
    # Exit codes 1 to 4 tell of slips in the page; what could be rendered is rendered.
    done = subprocess.run(command, input=source, capture_output=True, check=False)
    text = _OVERSTRIKE.sub("", done.stdout.decode("utf-8", "replace"))
    lines = _unfilled(text.rstrip("\n").split("\n")[1:-1])  # without the running head and foot
    kept = [line[min(INDENT, len(line) - len(line.lstrip(" "))) :].rstrip() for line in lines]
    if not any(kept):
        return ""
    joined = _JOINT.sub("", _DRAWN.sub("", "\n".join(kept)))
    return re.sub(r"\n{3,}", "\n\n", joined).strip("\n") + "\n"


def without_notices(texts: Sequence[str]) -> tuple[list[str], int]:
    """The texts without what is no page's own: colophons and licences; how many were cut.

    They make short pages look like copies of each other, and of held-out ones.
    """
    blocks = [re.split(r"\n\s*\n", text.strip("\n")) for text in texts]
    pages = Counter(block for page in blocks for block in set(page) if len(block) >= NOTICE_CHARS)
    most = max(2, NOTICE_SHARE * len(texts))
    kept = [[block for block in page if pages[block] <= most] for page in blocks]
    cut = sum(map(len, blocks)) - sum(map(len, kept))
    return ["\n\n".join(page) + "\n" if any(page) else "" for page in kept], cut


def _unfilled(lines: Sequence[str]) -> list[str]:
    """Lines with those put together again that were broken because they were full."""
    whole: list[str] = []
    for line in lines:
        first = (line.split(None, 1) or [""])[0]
        indent = len(line) - len(line.lstrip(" "))
        before = whole[-1] if whole else ""
        is_full = _columns(before) + 1 + _columns(first) > WIDTH - MARGIN
        if before and first and is_full and indent == len(before) - len(before.lstrip(" ")):
            whole[-1] = f"{before} {line.lstrip(' ')}"
        else:
            whole.append(line)
    return whole


def _columns(text: str) -> int:
    """Columns of a terminal: Han and full-width characters take two."""
    return len(text) + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def download(package: str, folder: Path) -> Path:
    """The package's .deb file in `folder`, from the sources of this machine's apt."""
    _run(["apt-get", "-q", "download", check_name(package, what="package")], cwd=folder)
    found = sorted(folder.glob(f"{package}_*.deb"))
    if not found:
        raise DataError(f"apt-get downloaded nothing for {package}; run `apt-get update` once")
    return found[0]


def find_mandoc(folder: Path) -> str:
    """mandoc as installed, or unpacked from its package into `folder`."""
    installed = shutil.which("mandoc")
    if installed:
        return installed
    _run(["dpkg-deb", "-x", str(download("mandoc", folder)), str(folder / "mandoc")])
    return str(folder / "mandoc/usr/bin/mandoc")


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    if shutil.which(command[0]) is None:
        raise ConfigError(
            f"{command[0]} is not on this machine; run this on Debian or Ubuntu, or put any other "
            "text into a folder of .txt files"
        )
    done = subprocess.run(list(command), cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(
            f"`{' '.join(command)}` failed: {said}; try `apt-get update` as root, or give the "
            "package's file with --deb"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Render the packages named; the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.manpages", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--package", action="append", default=[])
    parser.add_argument("--deb", action="append", default=[], type=Path)
    options = parser.parse_args(arguments)
    packages = options.package or ([] if options.deb else ["manpages-zh"])
    wanted = [(name, None) for name in packages]
    wanted += [(deb.name.partition("_")[0], deb) for deb in options.deb]
    try:
        with tempfile.TemporaryDirectory(prefix="mandoc-") as folder:
            mandoc = find_mandoc(Path(folder))
            for package, deb in wanted:
                counts = render_package(package, options.out, deb=deb, mandoc=mandoc)
                print(f"{package}: {dict(counts)} -> {options.out / package}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
