"""One page from documents to verdict, who learned from a document, and how it is left out."""

import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import iter_documents
from pipeline.tracking.config import default_uri
from pipeline.tracking.store import open_client
from tests.flows.conftest import mill_here, small_settings, write_settings

ORDER = (
    "From raw text to training text", "Tokens and examples", "Learning",
    "What the tuned model learned from", "Measured on held-out text", "Verdict",
    "From documents to weights",
)  # fmt: skip


def only(home: Path) -> Path:
    (path,) = [path for path in home.iterdir() if (path / "manifest.json").is_file()]
    return path


@pytest.fixture(scope="module")
def document(small_run: Path) -> str:
    """A document that was kept, neither the first nor the last."""
    documents = list(iter_documents(CleanedCorpus.open(only(small_run / "clean"))))
    return documents[len(documents) // 2].doc_id


def test_certificate_tells_the_way_in_order_and_every_origin_is_on_the_page(
    small_run: Path, tmp_path: Path
) -> None:
    page = tmp_path / "born.html"
    shown = mill_here(
        "show", "models:/small@champion", "--html", str(page), "--root", str(small_run)
    ).stdout
    places = [shown.index(title) for title in ORDER]
    assert places == sorted(places)
    assert f"from clean@{only(small_run / 'clean').name}" in shown
    html = page.read_text(encoding="utf-8")
    links = set(re.findall(r'href="#([^"]+)"', html))
    anchors = set(re.findall(r'id="([^"]+)"', html))
    assert links <= anchors
    names = {name for name in links if name.startswith("manifest-")}
    stages = ("clean", "eval-set", "tokenizer", "tokenize", "pretrain", "finetune", "evaluate")
    assert all(any(name.startswith(f"manifest-{stage}-") for name in names) for stage in stages)
    for stage in ("pretrain", "clean"):  # what a link leads to is that artifact's manifest
        fingerprint = json.loads((only(small_run / stage) / "manifest.json").read_text())[
            "fingerprint"
        ]
        assert fingerprint in html


def test_certificate_and_manifests_are_logged_with_the_version(small_run: Path) -> None:
    client = open_client(default_uri(small_run), small_run)
    for name, stage in (("small", "finetune"), ("small-base", "pretrain")):
        version = client.get_model_version_by_alias(name, "champion")
        run_id = str(version.run_id)
        assert [f.path for f in client.list_artifacts(run_id, "certificate")] == [
            "certificate/certificate.html", "certificate/manifests"
        ]  # fmt: skip
        manifests = [f.path for f in client.list_artifacts(run_id, "certificate/manifests")]
        digits = only(small_run / stage).name
        assert f"certificate/manifests/{stage}-{digits}.json" in manifests


def test_base_models_certificate_says_that_every_token_is_trained(
    small_run: Path, tmp_path: Path
) -> None:
    page = str(tmp_path / "base.html")
    shown = mill_here(
        "show", "models:/small-base@champion", "--html", page, "--root", str(small_run)
    ).stdout
    assert "Every token of the text is trained" in shown and "finetune@" not in shown


def test_document_names_every_model_that_learned_from_it(small_run: Path, document: str) -> None:
    shown = mill_here("show", document, "--root", str(small_run)).stdout
    told = " ".join(shown.split())
    base, tuned = only(small_run / "pretrain").name, only(small_run / "finetune").name
    assert f"pretrain@{base} (trained on its tokens, vocabulary counted in it)" in told
    assert f"finetune@{tuned} (trained on its tokens, tuned on questions made from it" in told
    assert "= small-base @challenger @champion" in told


def test_removed_document_is_left_out_of_the_next_run(
    small_run: Path, document: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(small_run, root, ignore=shutil.ignore_patterns("mlflow.*", "mlartifacts"))
    at = ("--root", str(root))
    told = mill_here("show", document, "--remove", "--reason", "its author asked", *at).stdout
    assert "is listed in" in told and "the 4 models named above keep what they learned" in told
    assert "was listed already" in mill_here("show", document, "--remove", *at).stdout
    (line,) = (root / "exclusions.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "its author asked"
    settings = write_settings(tmp_path / "small.yaml", small_settings(root))
    before = only(small_run / "clean").name
    mill_here("run", str(settings), "--only", "clean", "--no-prefect")
    (after,) = [path for path in (root / "clean").iterdir() if path.name != before]
    corpus = CleanedCorpus.open(after)
    assert document not in [one.doc_id for one in iter_documents(corpus)]
    assert corpus.facts["dropped"]["excluded"] == 1
    assert "removed: excluded" in mill_here("show", document, *at).stdout


def test_training_content_is_summarised_along_the_template(small_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    mill_here(
        "show", "models:/small@champion", "--eu-summary", str(path), "--html",
        str(tmp_path / "x.html"), "--root", str(small_run),
    )  # fmt: skip
    text = path.read_text(encoding="utf-8")
    facts = CleanedCorpus.open(only(small_run / "clean")).facts
    headings = re.findall(r"^#+ ([0-9.]+)", text, re.MULTILINE)
    assert headings == [
        "1.", "1.1", "1.2", "1.3", "2.", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.", "3.1",
        "3.2", "3.3",
    ]  # fmt: skip
    assert "less than 1 billion tokens" in text
    assert "| pydocs | documentation of the Python interpreter" in text
    assert f"| {facts['documents_kept']:,} |" in text
    assert "not generated by a model" in text and "small, version 1" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("models:/small@champion", "--remove"), "--remove excludes a document"),
        (("nobody/knows", "--remove"), "no document of the"),
        (("some document", "--eu-summary", "x.md"), "--eu-summary is about a model"),
        (("models:/small@nobody",), "no alias nobody"),
        (("models:/small",), "is not models:/NAME@ALIAS"),
    ],
)
def test_what_cannot_be_done_is_said(
    small_run: Path, arguments: tuple[str, ...], told: str
) -> None:
    result = mill_here("show", *arguments, "--root", str(small_run), check=False)
    assert result.returncode in (2, 3) and told in result.stderr
    assert not (small_run / "exclusions.jsonl").exists()
