"""Pairs from any text: answers stand in the prompt where they should, pages never straddle."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.conversations.formats import Limits
from pipeline.conversations.pages import read_page, sentences
from pipeline.conversations.splits import SPLITS, Pairs
from pipeline.conversations.text_pairs import TextPairs, pairs_from_text

LIMITS = Limits(8_192, 8_192)
THINGS = ("文件", "目录", "进程", "网络", "用户", "日志", "磁盘", "字体", "时钟", "邮件")


def page(number: int) -> tuple[str, str]:
    """A manual page about made-up commands; no two say the same."""
    thing, other = THINGS[number % 10], THINGS[(number + 3) % 10]
    return f"man/{number}", (
        f"名称\ncmd{number} - 列出第{number}号{thing}的内容\n\n"
        f"描述\n第{number}号命令读取{thing}并且整理它们的顺序。随后它把第{number}份{other}写到标准输出。"
        f"如果没有找到{thing}{number}，它就报告一个错误并退出。"
        f"第{number}份{other}的末尾写着当天的日期。\n\n"
        f"选项\n-a, --all\n       连同隐藏的{thing}{number}一起列出\n\n"
        f"-q     不显示关于{other}{number}的警告信息\n\n"
        f"--size=大小\n       只处理小于给定大小{number}的{thing}\n\n"
        f"--sort  按照名字给{other}{number}排序\n"
    )


def made(pages: range, held: range, **options: object) -> Pairs:
    config = TextPairs.model_validate({"wording": "zh", **options})
    return pairs_from_text(map(page, pages), map(page, held), config=config, limits=LIMITS, seed=0)


def test_read_page_finds_name_sections_and_options() -> None:
    found = read_page(*page(7))
    assert (found.name, found.summary) == ("cmd7", "列出第7号字体的内容")
    assert [section.heading for section in found.sections] == ["名称", "描述", "选项"]
    assert [option.flags for option in found.options] == [
        "-a, --all",
        "-q",
        "--size=大小",
        "--sort",
    ]
    assert found.options[1].meaning == "不显示关于文件7的警告信息"


def test_read_page_of_prose_has_no_structure() -> None:
    found = read_page("x", "春天来了。\n河边的柳树绿了。\n")
    assert (found.name, found.sections, found.options) == ("", (), ())


def test_sentences_of_chinese_and_english_text() -> None:
    text = "你好吗？我很好！“走吧。”他说。\nIt costs 3.5 dollars. Really?"
    assert sentences(text) == [
        "你好吗？", "我很好！", "“走吧。”", "他说。", "It costs 3.5 dollars.", "Really?",
    ]  # fmt: skip


def test_pairs_every_kind_is_made_of_manual_pages() -> None:
    pairs = made(range(40), range(40, 50))
    assert set(Counter(e.kind for e in pairs.train)) == {
        "next", "option", "summary", "section", "describe",
    }  # fmt: skip


def test_pairs_open_book_answers_stand_in_the_prompt_and_closed_ones_do_not() -> None:
    for example in made(range(40), range(40, 50)).train:
        if example.kind == "describe":
            assert example.answer not in example.prompt
        if example.kind in ("next", "option"):
            asked = example.prompt.splitlines()[-1]
            assert f"{asked}\n{example.answer}\n" in example.prompt
        elif example.open_book:
            assert example.answer in example.prompt


def test_pairs_held_out_pages_give_held_out_pairs_only() -> None:
    pairs = made(range(40), range(40, 50), validation_fraction=0.2)
    groups = {split: {e.group for e in pairs.of(split)} for split in SPLITS}
    assert groups["held_out"] == {f"man/{number}" for number in range(40, 50)}
    assert not groups["train"] & groups["validation"]
    assert groups["train"] | groups["validation"] == {f"man/{number}" for number in range(40)}


def test_pairs_do_not_depend_on_the_order_of_documents() -> None:
    config = TextPairs(wording="zh")
    backwards = reversed([page(number) for number in range(40)])
    pairs = pairs_from_text(backwards, [], config=config, limits=LIMITS, seed=0)
    assert pairs.train == made(range(40), range(0)).train


def test_pairs_caps_are_kept() -> None:
    pairs = made(range(40), range(40, 50), max_per_kind=7, max_closed_book=3)
    counts = Counter(e.kind for e in [*pairs.train, *pairs.validation])
    assert counts["next"] == 7 and counts["describe"] == 3


def test_pairs_of_prose_ask_for_sentences() -> None:
    text = (
        "清晨的山谷里弥漫着薄雾。村民们挑着担子走过石桥。河边的水车缓缓地转动着。孩子们在岸上追逐。"
    )
    config = TextPairs(wording="zh")
    pairs = pairs_from_text([("a", text)], [], config=config, limits=LIMITS, seed=0)
    assert {e.kind for e in pairs.train + pairs.validation} == {"next"}


@pytest.mark.parametrize("wording", ["zh", "en"])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=120), max_size=4))
def test_pairs_of_any_text_are_whole(wording: str, texts: list[str]) -> None:
    config = TextPairs.model_validate({"wording": wording})
    documents = [(str(i), text) for i, text in enumerate(texts)]
    pairs = pairs_from_text(documents, documents, config=config, limits=LIMITS, seed=0)
    assert all(e.prompt and e.answer for split in SPLITS for e in pairs.of(split))
