"""A small Chinese corpus of our own writing: prose, manual pages, and what should not be kept."""

import random
from pathlib import Path

WHO = ("村里的老人", "新来的学生", "值班的工程师", "远处的渔民", "图书管理员", "年轻的医生",
       "隔壁的邻居", "带队的老师", "修表师傅", "看门大叔", "卖菜的阿姨", "写信的姑娘",
       "船上的水手", "那位画家")  # fmt: skip
WHEN = ("天亮以前", "雨停之后", "吃过晚饭", "上个月初", "在桥头等车时", "每逢周末",
        "听到钟声", "趁着月光", "回家路上", "秋收时节", "大雪初晴", "午休期间",
        "茶凉了才想起来", "门一打开")  # fmt: skip
VERB = ("整理了", "修好了", "记下了", "画完了", "检查过", "搬来了", "擦亮了", "数清了",
        "缝补着", "带走了", "寻找着", "买回了", "放下了", "夸奖了")  # fmt: skip
HOW = ("破旧的", "崭新的", "沉重的", "透明的", "古老的", "蓝色的", "弯曲的", "结实的",
       "小巧的", "冰冷的", "芳香的", "锋利的", "柔软的", "昂贵的")  # fmt: skip
WHAT = ("报纸", "水泵", "地图", "电源箱", "木箱", "铜铃", "粮袋", "帆布", "鱼汤罐", "扫帚",
        "银杏树苗", "计划书", "望远镜", "铁锅", "算盘", "石磨", "灯笼", "毛笔", "瓷碗",
        "竹篮")  # fmt: skip
NAMES = ("zhai", "bian", "dui", "pai", "jia", "huan", "shai", "ding", "lie", "fen")
OBJECTS = ("文件", "目录", "进程", "日志", "邮件", "字体", "时钟", "磁盘", "端口", "账户")


def prose(seed: int, sentences: int = 12) -> str:
    """Paragraphs in which no phrase returns; two seeds share none but short passages."""
    rng = random.Random(seed)
    columns = [rng.sample(words, sentences) for words in (WHEN, WHO, VERB, HOW, WHAT)]
    lines = [
        f"{when}，{who}{verb}{how}{what}。"
        for when, who, verb, how, what in zip(*columns, strict=True)
    ]
    return "\n\n".join("".join(lines[i : i + 4]) for i in range(0, sentences, 4))


def manual(number: int) -> str:
    """A manual page of a made-up command, with prose for a description."""
    name, thing = f"{NAMES[number % 10]}{number}", OBJECTS[number * 7 % 10]
    return (
        f"名称\n{name} - 整理第{number}组{thing}的小工具\n\n"
        f"描述\n{prose(10_000 + number)}\n\n"
        f"选项\n-a, --all\n       连同隐藏的第{number}组{thing}一起处理\n\n"
        f"-q     不显示关于{thing}{number}的任何消息\n\n"
        f"--limit=数目\n       最多处理{number + 3}个{thing}就停下来\n\n"
        f"--sort  按照名字给第{number}组{thing}排序\n"
    )


def write_corpus(folder: Path, *, proses: int = 60, manuals: int = 40) -> Path:
    """The corpus as .txt files: `prose-*`, `manual-*`, `english` and three kinds of `noise-*`."""
    folder.mkdir(parents=True)
    texts = {f"prose-{i}": prose(i) for i in range(proses)}
    texts |= {f"manual-{i}": manual(i) for i in range(manuals)}
    texts["noise-menu"] = "首页\n关于\n登录\n注册\n" * 60
    texts["noise-repeated"] = "点击这里领取大奖，机会难得不要错过。\n" * 80
    texts["noise-numbers"] = "\n".join(f"{i} 3.14 {i * i} 0x{i:04x} ----" for i in range(200))
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return folder
