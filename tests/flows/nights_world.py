"""A small model that learns every night from a folder of real text: modules' own documentation."""

import importlib
import pydoc
from pathlib import Path

from tests.flows.conftest import small_settings

TONIGHT = {
    1: ("json", "csv", "configparser", "textwrap", "shlex", "string"),
    2: ("argparse", "logging", "zipfile", "tarfile", "difflib", "statistics"),
    3: ("unittest.mock", "email.message", "ipaddress", "fractions", "decimal", "calendar"),
}


def settings_of(root: Path, incoming: Path) -> dict:
    """The small graph, fed by the folder `incoming` beside the packages' docstrings."""
    settings = small_settings(root)
    settings["tracking"]["enabled"] = (
        False  # the journals suffice; the registry is used all the same
    )
    settings["clean"]["sources"].append(
        {"kind": "text", "name": "incoming", "paths": [str(incoming)]}
    )
    settings["clean"]["steps"] = [{"kind": "personal_data"}]  # each file of a night shall count
    # So small a model is hardly the better for one night's text; a rate as high as the first
    # night's makes the difference measurable.
    settings["continuation"] = {
        "replay": 0.25, "epochs": 2.0, "learning_rate_factor": 1.0, "min_new_tokens": 500,
    }  # fmt: skip
    return settings


def put(incoming: Path, modules: tuple[str, ...], folder: str = "") -> None:
    """Lay the documentation of modules into the folder, one file each."""
    place = incoming / folder
    place.mkdir(parents=True, exist_ok=True)
    for name in modules:
        text = pydoc.plain(pydoc.render_doc(importlib.import_module(name)))
        (place / f"{name}.txt").write_text(text, encoding="utf-8")
