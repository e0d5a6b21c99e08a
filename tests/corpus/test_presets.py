"""Every preset judges every text; each language's recipe keeps its own prose."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from benchmarks.peer_reasons import PEER_REASONS
from pipeline.corpus.chain import pass_through
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.base import Filter
from pipeline.corpus.presets import PRESETS
from pipeline.corpus.steps import AnyStep, Rules
from tests.corpus.conftest import CHINESE, made_up

ENGLISH = (
    "When the railway reached the town, flour became cheap, and half of the mills along the river "
    "closed. Nobody had expected that to happen so soon. The miller bought a dynamo with what he "
    "had saved, and the first electric light in the valley burned above a bin of his.\n"
    "It was not very bright, yet visitors came from as far as the coast to have a look at it. They "
    "stayed for the bread. Would he have thought that the wheel outlives the railway? It turns on "
    "Sundays, and the notebook lies open under glass at the page of that night."
)
JAPANESE = (
    "この村の水車小屋は川の曲がり角に建っていて、だれが造ったのかを知る人はもういなかった。\n"
    "春になると水は二段目まで上がり、秋には車輪がほとんど回らなかったという話が残っている。\n"
    "祖父は四十年のあいだそこで働き、何を受け取り、何を渡したかを小さな手帳に書きとめた。"
)
HOSTILE = ["", " ", "\n" * 50, "\x00\x01", "{" * 99, "\u0301" * 99, "。" * 99, "a" * 70_000,
           "😀" * 50, "\u2028".join("ab"), "lorem ipsum " * 30, "[1]" * 99]  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_hostile_text(name: str) -> None:
    batch = TextBatch.of([*HOSTILE, *CHINESE, ENGLISH, made_up(1)])
    passed = pass_through(PRESETS[name], batch)
    assert len(passed.batch) == len(batch)
    for values in passed.columns.values():
        assert len(values) == len(batch) and np.isfinite(np.asarray(values, np.float64)).all()


@pytest.mark.parametrize("name", PRESETS)
def test_preset_takes_no_documents(name: str) -> None:
    assert len(pass_through(PRESETS[name], TextBatch.of([])).batch) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_preset_can_be_written_as_a_list_of_steps(name: str) -> None:
    steps = TypeAdapter(list[AnyStep])
    assert tuple(steps.validate_python(steps.dump_python(list(PRESETS[name])))) == PRESETS[name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gopher", ENGLISH),
        ("c4", ENGLISH),
        ("fineweb", ENGLISH),
        ("fineweb2-zh", "\n".join(CHINESE)),
        ("fineweb2-ja", JAPANESE),
        ("generic", ENGLISH),
        ("generic", "\n".join(CHINESE)),
        ("documentation", ENGLISH),
    ],
)
def test_preset_keeps_prose_of_its_language(name: str, text: str) -> None:
    assert pass_through(PRESETS[name], TextBatch.of([text])).verdicts.reasons == [""]


def test_chinese_preset_drops_noise() -> None:
    noise = [
        "好的" * 60,
        "12345 67890 " * 30 + "汉字" * 3,
        "点击这里下载最新版本软件，" * 12,
        ENGLISH,
    ]
    verdicts = pass_through(PRESETS["fineweb2-zh"], TextBatch.of(noise)).verdicts
    assert not verdicts.keep.any()


def test_each_language_is_judged_by_its_own_rules() -> None:
    rules = Rules(preset=None, routes={"zh": "fineweb2-zh", "en": "fineweb"})
    batch = TextBatch.of(
        ["\n".join(CHINESE), ENGLISH], metadata=[{"language": "zh"}, {"language": "en"}]
    )
    assert pass_through(rules.members(), batch).verdicts.reasons == ["", ""]
    swapped = TextBatch.of(
        ["\n".join(CHINESE), ENGLISH], metadata=[{"language": "en"}, {"language": "zh"}]
    )
    assert not pass_through(rules.members(), swapped).verdicts.keep.any()


def test_every_reason_of_the_web_recipe_has_the_peers_name() -> None:
    ours = {
        f"{step.name}.{reason}"
        for step in PRESETS["fineweb"]
        if isinstance(step, Filter)
        for reason in step.reasons
    }
    assert ours == set(PEER_REASONS)
