import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from pipeline.artifacts import BaselineReport, EvalReport
from pipeline.reports.blocks import visible
from pipeline.reports.comparing import (
    clean_documents,
    model_minus_baseline,
    subset_bits_per_byte,
)
from pipeline.reports.curves import funnel_png, loss_curve_png
from pipeline.reports.facts import RunFacts
from pipeline.reports.html import render_html
from pipeline.reports.markdown import escaped, fenced, render_markdown
from pipeline.reports.report import _title as headings
from pipeline.reports.report import report_markdown, write_report
from pipeline.reports.sections import report_sections
from pipeline.reports.tables import evaluation_rows, funnel_rows
from pipeline.reports.terminal import print_summary
from pipeline.reports.themes import DARK, LIGHT
from pipeline.store.errors import ArtifactError, ConfigError
from tests.reports.world import losing, make, make_checkpoint, write_lines, write_table

SECTIONS = [
    "headline", "corpus", "tokens", "learning", "samples", "baselines", "answers", "registry",
    "stages", "provenance",
]  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def written(world, tmp_path_factory):
    return write_report(world.run, root=tmp_path_factory.mktemp("written"))


@pytest.fixture(scope="module")
def page(written):
    return Page(written.html.read_text("utf-8"))


def test_a_full_run_has_every_section(world):
    assert [section.anchor for section in report_sections(world.run)] == SECTIONS


def test_the_report_is_two_texts_and_three_pictures(written):
    names = {path.name for path in written.directory.iterdir()}
    assert names == {"report.md", "report.html", "curve.png", "funnel.png", "bpb.png"}
    for picture in written.pictures:
        assert Image.open(picture).width >= 800


def test_pictures_are_drawn_again_only_of_other_artifacts(world, tmp_path, monkeypatch):
    first = write_report(replace(world.run, run_id="one"), root=tmp_path)

    def drawn(*_arguments: object, **_keywords: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(Figure, "savefig", drawn)
    second = write_report(replace(world.run, run_id="two"), root=tmp_path)
    for before, after in zip(first.pictures, second.pictures, strict=True):
        assert after.parent.name == "two" and before.read_bytes() == after.read_bytes()
    pages = [paths.html.read_text("utf-8") for paths in (first, second)]
    assert pages[0].replace("one", "two") == pages[1].replace("one", "two")
    with pytest.raises(NotImplementedError):
        write_report(replace(world.run, run_id="three", tuned=None), root=tmp_path)


def test_markdown_names_its_pictures_and_what_the_run_found(written):
    text = written.markdown.read_text("utf-8")
    assert {"curve.png", "funnel.png", "bpb.png"} == set(re.findall(r"\]\((\w+\.png)\)", text))
    for part in (
        "near\\_duplicate",
        "5-gram, model's size",
        "untrained",
        "60 s",
        "重复",
        "champion",
    ):
        assert part in text


def test_the_page_says_all_of_it_without_script_or_request(page):
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "b"}
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/png;base64,", "#")), (tag, value)
        assert not [name for name in attributes if name.startswith("on")]


def test_corpus_text_is_shown_as_text(page):
    assert "<script>alert('held out')</script>" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "<b>web</b>" in page.text
    assert "返回文件列表。" in page.text


def test_every_link_on_the_page_has_a_target(page):
    anchors = {a["id"] for _, a in page.tags if a.get("id")}
    links = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert links and links == anchors


def test_control_and_direction_characters_become_visible():
    assert visible("a\u202eb\x00\n\ud800") == "a<U+202E>b\u2400\n\ufffd"


def test_markdown_text_cannot_become_markup():
    assert escaped("a|b\n# <b>*x*</b> [y](z)") == r"a\|b \# \<b\>\*x\*\</b\> \[y\](z)"
    assert fenced("``` ````").startswith("`````text\n")


def test_prefect_gets_one_text_with_pictures_inside(world):
    text = report_markdown(world.run)
    assert text.count("](data:image/png;base64,") == 3
    assert not re.search(r"\]\(\w+\.png\)", text)


def test_a_corpus_run_is_reported_without_the_rest(world, tmp_path):
    run = RunFacts(
        run_id="corpus-1", name="corpus", eval_set=world.run.eval_set, corpus=world.run.corpus
    )
    assert [s.anchor for s in report_sections(run)] == ["headline", "corpus", "provenance"]
    assert write_report(run, root=tmp_path).html.is_file()


def test_an_empty_run_is_still_a_page(tmp_path):
    paths = write_report(RunFacts(run_id="nothing"), root=tmp_path)
    assert "nothing" in paths.html.read_text("utf-8")
    assert paths.pictures == ()


@pytest.mark.parametrize(
    "missing", [("tuned_eval", "base"), ("base_eval", "tuned", "corpus"), ("baselines",)]
)
def test_missing_artifacts_leave_a_report_of_the_rest(world, tmp_path, missing):
    run = replace(world.run, **dict.fromkeys(missing))
    assert write_report(run, root=tmp_path).html.is_file()


def test_a_run_id_that_leaves_the_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="run_id"):
        write_report(RunFacts(run_id="../up"), root=tmp_path)


def test_a_model_worse_than_the_ngram_is_said_to_lose(world):
    section = next(s for s in report_sections(losing(world)) if s.anchor == "baselines")
    verdicts = [block for block in section.blocks if getattr(block, "tone", "") == "bad"]
    assert len(verdicts) == 2 and "LOSES TO the 5-gram of its own size" in verdicts[0].text


def test_a_better_model_is_said_to_win(winning_world):
    section = next(s for s in report_sections(winning_world.run) if s.anchor == "baselines")
    verdicts = [block for block in section.blocks if getattr(block, "tone", "") == "good"]
    assert "beats the 5-gram of its own size" in verdicts[0].text
    assert any("fewer bits than every baseline" in verdict.text for verdict in verdicts)


def test_documents_that_share_an_id_are_all_compared(tmp_path):
    def artifact(kind, stage, columns):
        return make(
            tmp_path, kind, stage, stage, {},
            lambda d: write_table(d / "documents.arrow", pa.table(columns)), config=stage,
        )  # fmt: skip

    ids, sizes = ["1", "1", "2"], [10, 10, 10]
    report = artifact(
        EvalReport, "evaluate", {"doc_id": ids, "nats": [9.0, 1.0, 2.0], "bytes": sizes}
    )
    baselines = artifact(
        BaselineReport, "baselines",
        {"doc_id": ids, "nats_xz": [9.0, 1.0, 2.0], "clean": [True, False, True]},
    )  # fmt: skip
    difference = model_minus_baseline(report, baselines, "xz", clean=False)
    assert difference is not None and (difference.value, difference.items) == (0.0, 3)
    clean = subset_bits_per_byte(report, clean_documents(baselines))
    assert clean is not None and clean.items == 2
    assert clean.value == pytest.approx(11 / 20 / np.log(2))


def test_tuned_minus_base_comes_with_its_interval(world):
    section = next(s for s in report_sections(world.run) if s.anchor == "answers")
    text = section.blocks[0].text
    gain, low, high = (float(x) for x in re.findall(r"[+−]\d+\.\d", text.replace("−", "-")))
    assert low < gain < high and gain == pytest.approx(50.0)


def test_the_terminal_summary_fits_eighty_columns(world, written):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    print_summary(world.run, written, console)
    text = console.export_text()
    code = [entry["one_liner"] for entry in world.run.registrations if entry.get("one_liner")]
    lines = text.splitlines()
    assert code and all(line in lines for line in code)  # whole, to be copied
    assert all(len(line) <= 80 for line in lines if "report.html" not in line and line not in code)
    for part in ("read", "base model", "untrained", "pydocs", "load_model"):
        assert part in text


def test_funnel_rows_add_up_to_what_was_read(world):
    rows = funnel_rows(world.run.corpus)
    assert rows[0]["step"] == "read" and rows[-1]["step"] == "kept"
    assert sum(row["documents"] for row in rows[:-1]) == rows[-1]["documents"]


def test_evaluation_rows_hold_bits_and_exact_match(world):
    rows = {row["measure"]: row for row in evaluation_rows(world.run.base_eval)}
    assert (
        rows["bits per byte"]["interval"] and rows["exact match, parameters"]["value"] == "30.0 %"
    )


def tallest(png: bytes, colour: str) -> float:
    """The largest share of any column of a picture that has about this colour."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int64)
    wanted = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)
    return float((np.abs(pixels - wanted).sum(axis=2) < 120).mean(axis=0).max())


def test_the_turning_point_is_drawn_only_where_validation_turned(world):
    turned, falling = (
        loss_curve_png(checkpoint) for checkpoint in (world.run.tuned, world.run.base)
    )
    assert tallest(turned, LIGHT.second) > 0.3  # a dashed line over the height of the axes
    assert tallest(falling, LIGHT.second) < 0.1  # a ring and a word


def test_the_same_run_gives_the_same_picture(world):
    assert loss_curve_png(world.run.base) == loss_curve_png(world.run.base)


def test_a_run_that_never_validated_is_not_said_to_be_still_falling(tmp_path):
    checkpoint = make_checkpoint(tmp_path, "pretrain", turned=False)
    manifest = checkpoint.path / "manifest.json"
    document = json.loads(manifest.read_text())
    document["facts"] |= {"best_validation_loss": None, "best_step": None}
    manifest.write_text(json.dumps(document))
    unvalidated = type(checkpoint).open(checkpoint.path)
    text = report_markdown(RunFacts(run_id="r", base=unvalidated))
    assert "never validated" in text and "still falling" not in text


def test_a_checkpoint_without_a_curve_still_gives_a_picture(tmp_path):
    checkpoint = make_checkpoint(tmp_path, "pretrain", turned=False)
    write_lines(checkpoint.path / "curve.jsonl", [])
    assert loss_curve_png(checkpoint).startswith(b"\x89PNG")


def test_a_damaged_curve_is_named(tmp_path):
    checkpoint = make_checkpoint(tmp_path, "pretrain", turned=False)
    (checkpoint.path / "curve.jsonl").write_text('{"step": 1}\n{"st\n')
    with pytest.raises(ArtifactError, match="line 2"):
        loss_curve_png(checkpoint)


def test_labels_in_any_script_and_with_dollars_are_drawn():
    rows = [{"step": "读取 $x^2$ \\frac", "documents": 3}, {"step": "kept", "documents": 3}]
    assert funnel_png(rows, DARK).startswith(b"\x89PNG")


def test_a_report_is_called_by_the_encoder_not_by_the_classifiers_made_of_it() -> None:
    names = ("pydocs-bert", "pydocs-bert-library", "pydocs-bert-code")
    run = RunFacts(run_id="r", registrations=[{"name": name} for name in names])
    two = (EvalReport(Path("a"), "0" * 64), EvalReport(Path("b"), "1" * 64))
    assert headings(replace(run, registrations=run.registrations[:1]))[0] == "pydocs-bert"
    assert headings(replace(run, class_evals=two))[0] == "pydocs-bert"
    tuned = [{"name": "pydocs-base"}, {"name": "pydocs"}]
    assert headings(replace(run, registrations=tuned))[0] == "pydocs"


def test_titles_are_escaped_in_both_forms():
    assert "<i>" not in render_html("<i>", "<i>", []).split("<body>")[1]
    assert "<i>" not in render_markdown("<i>", "<i>", [], embed_pictures=False).replace(
        "\\<i\\>", ""
    )


def test_a_long_funnel_is_drawn_with_its_rare_reasons_together():
    reasons = [{"step": f"reason_{i}", "documents": -i} for i in range(20, 0, -1)]
    rows = [{"step": "read", "documents": 500}, *reasons, {"step": "kept", "documents": 290}]
    drawn = Image.open(io.BytesIO(funnel_png(rows)))
    short = Image.open(io.BytesIO(funnel_png([*rows[:10], rows[-1]])))
    assert drawn.height == short.height
