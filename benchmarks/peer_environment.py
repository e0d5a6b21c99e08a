"""Environments of the peers: each its own virtual environment, made once below a cache folder.

    environment(folder, "datatrove") -> Path of its Python

Nothing of theirs is installed here. An environment named in BESIDE_OURS sees our packages too.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from pipeline.store.errors import ConfigError

DEFAULT_FOLDER = Path("~/.cache/gristmill-peers")
PACKAGES: Mapping[str, Sequence[str]] = {
    "datatrove": (
        "datatrove==0.10.1", "spacy==3.8.18", "ftfy==6.3.1", "nltk==3.10.4", "orjson", "xxhash",
        "tldextract", "regex", "fasteners", "trafilatura==2.3.1", "lxml_html_clean", "pyarrow",
    ),
    # Apart from the above: its hashing needs xxhash 3.
    "datatrove-dedup": (
        "datatrove==0.10.1", "spacy==3.8.18", "xxhash==3.8.0", "tokenizers", "orjson", "regex",
        "tldextract", "fasteners",
    ),
    "trl": ("trl==1.9.0", "transformers==5.23.0", "datasets==5.2.0", "torch==2.13.0"),
    "tokens": (
        "tiktoken==0.14.0", "tokenizers==0.23.3", "numpy==2.4.6", "pyarrow==25.0.1",
        "torch==2.13.0", "datasets==5.2.0", "litdata==0.2.76", "grain==0.2.18",
        "datatrove==0.10.1", "orjson", "fasteners",
    ),
    # Apart from the above: it holds numpy and others back.
    "streaming": ("mosaicml-streaming==0.13.0", "tiktoken==0.14.0", "torch==2.13.0"),
    # Trainers step by step in one process with ours: with our torch and transformers, and without
    # litgpt's own pins, which would hold transformers back.
    "train": (
        "litgpt==0.5.13", "lightning==2.6.6", "pytorch-lightning==2.6.6",
        "lightning-utilities==0.15.3", "torchmetrics==1.9.0", "jsonargparse==4.53.0",
    ),
    # What somebody has who uses a registered model: nothing of this project.
    "consumer": (
        *(f"{name}=={metadata.version(name).partition('+')[0]}"
          for name in ("mlflow", "torch", "transformers", "safetensors")),
        "openai==3.52.0",
    ),
    # llama.cpp as a wheel, nothing to build: for the file that `mill export gguf` writes.
    "llama-cpp": ("xllamacpp==2026.10.11549",),
    # Beside our torch and transformers: both sides multiply with the same library.
    "lm-eval": ("lm-eval==0.4.13", f"numpy=={metadata.version('numpy')}"),
    # The parity mode: our own code with spaCy, whose numpy must be ours.
    "spacy": ("spacy==3.8.18", f"numpy=={metadata.version('numpy')}"),
}  # fmt: skip
"""What is installed in each; the versions that the figures depend on are fixed."""
BESIDE_OURS = frozenset({"lm-eval", "spacy", "train"})
WITHOUT_DEPENDENCIES = frozenset({"train"})
ADDED_ALONE: Mapping[str, Sequence[str]] = {"lm-eval": ("accelerate==1.15.0",)}
"""Installed without what they need, which is ours: accelerate would bring a torch of its own."""
_MARK = "installed.txt"


def environment(folder: Path, name: str) -> Path:
    """The Python of the environment `name`; made when it is absent or its packages changed.

    Raises ConfigError when the packages cannot be installed.
    """
    packages, alone = PACKAGES[name], ADDED_ALONE.get(name, ())
    wanted = hashlib.sha256("\n".join((sys.version, *packages, *alone)).encode()).hexdigest()
    directory = folder.expanduser() / name
    python, mark = directory / "bin" / "python", directory / _MARK
    if mark.is_file() and mark.read_text(encoding="utf-8").strip() == wanted and python.exists():
        return python
    print(f"making {directory}: {' '.join(packages)}", file=sys.stderr)
    if directory.exists():
        shutil.rmtree(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    _do([sys.executable, "-m", "venv", str(directory)], name)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps"] if name in WITHOUT_DEPENDENCIES else []
    _do([*pip, *options, *packages], name)
    if alone:
        _do([*pip, "--no-deps", *alone], name)
    if name in BESIDE_OURS:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # Read after its own packages, which therefore come first.
        own = directory / "lib" / version / "site-packages" / "zz_ours.pth"
        own.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    mark.write_text(f"{wanted}\n", encoding="utf-8")
    return python


def version_of(python: Path, package: str) -> str:
    """The version of a package installed beside `python`."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode:
        raise ConfigError(f"{package} is not installed beside {python}; delete that folder")
    return done.stdout.strip()


def _do(command: Sequence[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise ConfigError(
            f"the environment of {name} could not be made ({last}); check the network and pip's "
            "index, or name a folder that has it with --peers"
        )
