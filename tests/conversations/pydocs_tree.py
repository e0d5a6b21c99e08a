"""A small real corpus for tests: a few standard library modules as a package of their own."""

import shutil
import sysconfig
from pathlib import Path

from pipeline.corpus.sources.pydocs import PydocsSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.stages.freeze_eval_set import EvalSetConfig, freeze_eval_set
from pipeline.store.runtime import Runtime

MODULES = (
    "argparse calendar configparser copy csv datetime dis fileinput fractions functools glob gzip "
    "heapq imaplib inspect ipaddress locale mailbox nntplib optparse pathlib pickle posixpath "
    "random shutil smtplib socket statistics string tarfile textwrap threading types uuid zipfile"
).split()


def small_corpus(directory: Path):
    """(eval set, cleaned corpus, root) of the modules above; about a second."""
    package = directory / "site" / "demo"
    package.mkdir(parents=True)
    library = Path(sysconfig.get_path("stdlib"))
    for name in MODULES:
        if (library / f"{name}.py").is_file():  # nntplib is gone from 3.13
            shutil.copy(library / f"{name}.py", package / f"{name}.py")
    source = PydocsSource(
        standard_library=False, topics=False, packages=("demo",),
        search_paths=(str(directory / "site"),),
    )  # fmt: skip
    root, runtime = directory / "root", Runtime()
    config = EvalSetConfig(name="small", max_bytes=80_000, max_fraction=0.3)
    eval_set = freeze_eval_set(config, (source,), root=root, runtime=runtime)
    corpus = clean_corpus(CleanConfig(sources=(source,)), eval_set, root=root, runtime=runtime)
    return eval_set, corpus, root
