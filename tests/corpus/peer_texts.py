"""Texts of our own on which datatrove's decisions are stored (`data/peer_decisions.json`).

Each document is made to be near one rule: it breaks it, or just does not. To store the decisions
again: `python -m tests.corpus.peer_texts > texts.jsonl`, then `benchmarks/peer_decisions.py` on it
with the Python of an environment that has datatrove.
"""

import json

PARAGRAPHS = (
    "The old mill stood at the bend of the river, and nobody in the village could say who had "
    "built it. In spring the water rose to the second step; in autumn it hardly turned the wheel.",
    "Anna's grandfather, who had worked there for forty years, kept a notebook. He wrote down what "
    "came in and what went out: 12 sacks of rye, 3.5 tons of wheat, one letter from the U.S. that "
    "he didn't answer.",
    "You can't grind wet corn, he used to say, and you shouldn't argue with the miller. People "
    "laughed at that (they weren't paying by the hour), but they'd come back with dry corn.",
    "When the railway reached the town in 1898, flour became cheap. Half of the mills along the "
    'river closed within ten years. "We\'ll see about that," said the miller, and bought a dynamo.',
    "So it was that the first electric light in the valley burned above a flour bin. It was not "
    "very bright, e.g. you could not read by it, yet visitors came from as far as the coast.",
    "Today the building is a museum. The wheel turns on Sundays from 10 a.m. to 4 p.m., the bakery "
    "sells well-made bread, and the notebook lies open under glass at the page of that night.",
    "What would he have thought of the visitors? He'd have asked whether their corn was dry! Then "
    "he would have shown them the stones, the belts and the sieve, and sent them home with flour.",
)
PROSE = "\n".join(PARAGRAPHS)
LONG_WORDS = (
    "Unquestionably", "internationalisation", "incomprehensibilities", "disproportionately",
    "counterproductive", "responsibilities", "transformations", "uncontrollability",
)  # fmt: skip
SHORT_LINES = "\n".join(f"The {noun} and the {other}" for noun, other in zip(
    "apple pear plum cherry quince medlar lemon fig grape melon currant berry".split(),
    "table chair bench stool shelf chest press desk crate bin rack frame".split(), strict=True,
))  # fmt: skip
CHINESE = "磨坊建在河弯处，村里没人说得出是谁造的。春天水涨到第二级台阶，秋天几乎推不动水轮。\n" * 3

WORDS = (
    "Don't, can't, won't, I'll, she'd've and o'clock; cannot, gonna, dont, Im.",
    "(see e.g. fig. 3, i.e. the U.K. vs. the U.S.A., etc.) Mr. Smith, Ph.D., a.m. p.m. No. 7.",
    "10km/h 5kg 3.5% 100$ US$5 $5.00 20°C. 1,000,000 1+1=2 3-4 x=y a/b either/or and/or C++ C#",
    "well-known co-op --flag -x a--b a---b a–b a—b ~tilde under_score _private __init__",
    "foo.bar foo.Bar end.Start os.path.join http://example.com/a?b=c#d www.example.org me@x.io",
    "wait... what?! no!!! yes?? (((nested))) [1] {x} <b>bold</b> “quoted” ‘single’ «guillemets»",
    ":) :-( ;-) <3 :'( xD 8) o_O :D, (: and foo:) in the middle",
    "a. b. z. A. B. J. R. R. Tolkien the Ja. 'tis 'twas rock'n'roll y'all ma'am",
    "tab\tseparated  double   triple\u00a0no-break\u3000wide\x0bvertical\x1cfile",
    "naïve café Ünïcödé ΑΒΓ Привет.мир Straße. 50€ £20 №5 §4 ½ ² m² … …… ‚low‘ „German“",
    "\"e.g.,'1'\" `code` ``x'' 'quoted.' \"end.\" (end). end.) end.” ...start ..2 .5 5. .",
    "@user #tag #1 & * % = + - / \\ | ^ ~ ` ' \" . , : ; ! ? ( ) [ ] { } < > _ $",
)


def documents() -> dict[str, str]:
    """Name -> text."""
    found = {f"words_{i}": text for i, text in enumerate(WORDS)}
    found |= {
        "prose": PROSE,
        "prose_in_paragraphs": "\n\n".join(PARAGRAPHS),
        "one_paragraph": PARAGRAPHS[1],
        "two_paragraphs": "\n".join(PARAGRAPHS[:2]),
        "repeated_paragraphs": "\n\n".join([*PARAGRAPHS[:2], *PARAGRAPHS[:2]]),
        "repeated_long_line": "\n".join([*PARAGRAPHS, PARAGRAPHS[1], PARAGRAPHS[2]]),
        "repeated_short_lines": PROSE + "\nRead more" * 8,
        "repeated_line_once": PROSE + "\nShare this page with friends" * 2,
        "blank_lines_between": "\n \n".join(PARAGRAPHS),
        "top_gram": PROSE + "\n" + "buy flour now " * 60,
        "refrain": "\n".join(f"{p} And the wheel went round and round and round." * 2
                             for p in PARAGRAPHS[:4]),
        "phrase_repeated_inside": "\n".join(
            f"It is said in the village at the bend of the river that {p}" for p in PARAGRAPHS),
        "numbers": PROSE + "\n" + " ".join(str(n * n) for n in range(90)),
        "many_numbers": PROSE + "\n" + " ".join(str(n * n) for n in range(30)),
        "hashes": "\n".join(p.replace(" ", " #", 8) for p in PARAGRAPHS),
        "ellipses": "\n".join(p.replace(" ", "... ", 7) for p in PARAGRAPHS),
        "ellipsis_lines": "\n".join(f"{p}..." if i < 3 else p for i, p in enumerate(PARAGRAPHS)),
        "bullets": "\n".join(f"- {p}" for p in PARAGRAPHS),
        "some_bullets": "\n".join(f"• {p}" if i else p for i, p in enumerate(PARAGRAPHS)),
        "no_stop_words": "\n".join(
            f"Visitors saw {number} old mills near rivers, where {people} bought bread from {who}."
            for number, people, who in zip(
                "seven eleven many few twenty".split(), "guests some women men all".split(),
                "Anna Karl Maria Joe Ilse".split(), strict=True)),
        "repeated_long_paragraph": "\n\n".join([*PARAGRAPHS, PROSE, PROSE]),
        "short_words": "\n".join(["I am on it, so is he, to be or no, up we go, and in to it."] * 2
                                 + ["We do as we do of a day, it is ok by me, if so be it, to us."
                                    " The ox is at an inn. My, my, he is in. To go or no to go?"
                                    " Do it, or do as I do, and be of us. It is a go: so go."]),
        "long_words": "\n".join(f"Undoubtedly incomprehensibilities overwhelmingly characterise "
                                f"{word} internationalisation of the institutionalised mills."
                                for word in ("uncontrollable", "counterproductive", "magnificently",
                                             "unquestionably", "disproportionately") * 2),
        "javascript_line": PROSE + "\nPlease enable JavaScript to read on in this browser.",
        "cookie_line": PROSE + "\nThis site uses cookies; see our privacy policy for details.",
        "citations": PROSE.replace(".", ".[1]").replace("?", "?[citation needed]"),
        "edit_marks": PROSE.replace("\n", " [edit]\n"),
        "lorem_ipsum": PROSE + "\nLorem ipsum dolor sit amet, and so on and on.",
        "curly_bracket": PROSE + "\nprintf { and nothing more is said here }",
        "few_sentences": PROSE.replace(".", ",").replace("?", ",").replace("!", ",") + ".",
        "very_long_word": PROSE + "\n" + "x" * 1001 + " is a word of the mill.",
        "almost_very_long_word": PROSE + "\n" + "x" * 1000 + " is a word of the mill.",
        "short_lines": SHORT_LINES,
        "short_sentences": "\n".join(
            f"{part.strip()}." for p in PARAGRAPHS for part in p.replace(".", ",").split(",")
            if len(part) > 9),
        "a_list_of_words": "\n".join(
            f"{a} the {b}."
            for a, b in zip(PARAGRAPHS[0].split(), PARAGRAPHS[2].split(), strict=False)
            if a.isalpha() and b.isalpha()),
        "few_words_per_line": "\n".join(
            f"{first} {second}." for first in LONG_WORDS for second in LONG_WORDS[::2]),
        "short_lines_and_prose": SHORT_LINES.replace("\n", ".\n") + "\n" + PROSE,
        "no_line_ends_in_a_mark": "\n".join(p.rstrip(".!") + " and" for p in PARAGRAPHS),
        "many_lines": "\n".join(PROSE.replace(", ", ",\n").replace(". ", ".\n").splitlines()),
        "windows_newlines": PROSE.replace("\n", "\r\n"),
        "other_newlines": PROSE.replace("\n", "\u2028"),
        "quotes_at_line_ends": "\n".join(f'"{p}"' for p in PARAGRAPHS),
        "emails": PROSE + "\nWrite to anna@mill.example.org or to post+1@example.co.uk for bread.",
        "addresses": PROSE + "\nThe server is at 8.8.8.8, the office at 192.168.0.1, as ever.",
        "chinese": CHINESE,
        "chinese_and_english": PROSE + "\n" + CHINESE,
        "only_marks": "... !!! ??? --- ***",
        "only_spaces": " \n \t ",
        "leading_and_trailing_space": f"  \n\n {PROSE} \n\n ",
        "sentences_after_brackets": "\n".join(f"He asked (why?) and left. {p}" for p in PARAGRAPHS),
    }  # fmt: skip
    return found


if __name__ == "__main__":
    for name, text in documents().items():
        print(json.dumps({"id": name, "text": text}))
