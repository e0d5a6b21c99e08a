"""English chunks that split otherwise than the rules say: contractions, abbreviations, emoticons.

The list is that of spaCy 3.8's English tokenizer, whose words the published thresholds were tuned
on. It is compiled into a hash table that kernels can ask.
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.classes import (
    ALPHA,
    DIGIT,
    LOWER,
    PREFIX,
    PUNCT,
    QUOTE,
    SUFFIX,
    UPPER,
    char_classes,
)

MAX_CHARS = 15
"""No entry is longer; the lengths of entries are bits of a 16-bit mask."""
SLOTS = 4096  # entries fill a quarter of them

_PRONOUNS = ("i", "you", "he", "she", "it", "we", "they")
_QUESTIONS = ("who", "what", "when", "where", "why", "how", "there", "that", "this")
_THESE = ("these", "those")
_NEGATED = (
    "ca could do does did had may might must need ought sha should wo would ai are is was were "
    "have has dare"
).split()
_NEGATED_ALONE = set("ai are is was were have has dare".split())  # no n't've
_MODAL = ("could", "might", "must", "should", "would")
_NOT_SPLIT = set("ill its hell shell shed were well whore".split())
_OTHER = (
    "y'|all y|all how|'d|'y How|'d|'y not|'ve not|ve Not|'ve Not|ve can|not Can|not gon|na Gon|na "
    "got|ta Got|ta let|'s Let|'s c'm|on C'm|on"
).split()
_WHOLE = (
    "doin goin nothin nuthin ol somethin Doin Goin Nothin Nuthin Ol Somethin doin' goin' nothin' "
    "nuthin' ol' somethin' Doin' Goin' Nothin' Nuthin' Ol' Somethin' em ll nuff 'em 'll 'nuff 'S "
    "'s \u2018S \u2018s and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am "
    "Ma'am o'clock O'clock lovin' Lovin' lovin Lovin havin' Havin' havin Havin Mt. Ak. Ala. Apr. "
    "Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. "
    "Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. "
    "Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. 'd a.m. Adm. Bros. co. Co. "
    "Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. Md. Messrs. Mo. Mont. "
    "Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. \\t \\n \u2014 ' \\\") <space> '' "
    "C++ ä. ö. ü."
).split()
_EMOTICONS = (
    ":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) "
    "(; (-; :( :-( :(( :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ "
    ":1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D "
    ";-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_- -__- v.v V.V v_v V_V o_o "
    "o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.) "
    "(>_<) (*_*) (\u00ac_\u00ac) \u0ca0_\u0ca0 \u0ca0\ufe35\u0ca0 (\u0ca0_\u0ca0) "
    "\u00af\\(\u30c4)/\u00af ><(((*>"
).split()


@dataclass(frozen=True)
class ExceptionTable:
    """An open-addressing hash table of code point sequences."""

    lengths: npt.NDArray[np.uint16]
    """(128 * 128,) bit n: an entry of n characters starts and ends so (low 7 bits of each)."""
    keys: npt.NDArray[np.uint64]
    """(SLOTS,) hash of the entry, 0 where empty."""
    cuts: npt.NDArray[np.uint8]
    """(SLOTS,) where to split: first position in the low 4 bits, second in the high; 0 for none."""
    joins: npt.NDArray[np.bool_]
    """(SLOTS,) whether tokens split by the rules become this entry again: `x:)` does."""
    reach: npt.NDArray[np.uint8]
    """(128,) characters of the longest such entry that begins so (low 7 bits)."""


@functools.cache
def exceptions() -> ExceptionTable:
    """The table of all entries, built once per process."""
    lengths = np.zeros(128 * 128, np.uint16)
    keys = np.zeros(SLOTS, np.uint64)
    cuts = np.zeros(SLOTS, np.uint8)
    joins = np.zeros(SLOTS, np.bool_)
    reach = np.zeros(128, np.uint8)
    for parts in _with_typographic_apostrophes(_entries()):
        entry = "".join(parts)
        assert len(entry) <= MAX_CHARS and len(parts) <= 3
        lengths[(ord(entry[0]) & 127) * 128 + (ord(entry[-1]) & 127)] |= 1 << len(entry)
        key = chunk_key(entry)
        slot = key & (SLOTS - 1)
        while keys[slot] and keys[slot] != key:
            slot = (slot + 1) & (SLOTS - 1)
        keys[slot] = key
        first = len(parts[0]) if len(parts) > 1 else 0
        second = first + len(parts[1]) if len(parts) > 2 else 0
        cuts[slot] = first | second << 4
        joins[slot] = _is_split_by_rules(entry)
        if joins[slot]:
            reach[ord(entry[0]) & 127] = max(reach[ord(entry[0]) & 127], len(entry))
    for array in (lengths, keys, cuts, joins, reach):
        array.flags.writeable = False
    return ExceptionTable(lengths, keys, cuts, joins, reach)


def chunk_key(chunk: str) -> int:
    """The 64-bit key of a chunk; `split.find_entry` computes the same."""
    key = len(chunk)
    for char in chunk:
        key = ((key ^ ord(char)) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        key ^= key >> 29
    return key


def _is_split_by_rules(entry: str) -> bool:
    """Whether an affix or an infix of the general rules is in the entry."""
    kinds = [int(char_classes()[ord(char)]) for char in entry]
    if kinds[0] & PREFIX or kinds[-1] & SUFFIX or entry[-2:] in ("'s", "\u2019s", "'S", "\u2019S"):
        return True
    if entry[-1] == "." and len(entry) > 1 and kinds[-2] & (LOWER | DIGIT | PUNCT | QUOTE):
        return True
    for char, before, after in zip(entry[1:], kinds, kinds[2:], strict=False):
        if char in "-~:<>=/" and before & (ALPHA | DIGIT) and after & ALPHA:
            return True
        if char == "." and before & LOWER and after & UPPER:
            return True
    return False


def _with_typographic_apostrophes(entries: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for parts in entries:
        yield parts
        if any("'" in part for part in parts):
            yield tuple(part.replace("'", "\u2019") for part in parts)


def _entries() -> Iterator[tuple[str, ...]]:
    for parts in _contractions():
        if "".join(parts).lower() not in _NOT_SPLIT:
            yield parts
    for entry in _OTHER:
        yield tuple(entry.split("|"))
    for hour in range(1, 13):
        for period in ("a.m.", "am", "p.m.", "pm"):
            yield (str(hour), period)
    for entry in (*_WHOLE, *_EMOTICONS):
        yield (entry,)
    for letter in "abcdefghijklmnopqrstuvwxyz":
        yield (f"{letter}.",)
    for unit in "cfkCFK":
        yield ("°", unit, ".")


def _contractions() -> Iterator[tuple[str, ...]]:
    """(stem, ending, ...) of every contraction, with and without its apostrophes."""
    for word, endings in _stems():
        for stem in (word, word.title()):
            for ending in endings:
                parts = tuple(ending.split("|"))
                yield (stem, *parts)
                yield (stem, *(part.replace("'", "") for part in parts))


def _stems() -> Iterator[tuple[str, tuple[str, ...]]]:
    will, would = ("'ll", "'ll|'ve"), ("'d", "'d|'ve")
    yield "i", ("'m", "'m|a")
    for word in _PRONOUNS:
        yield word, will + would
    for word in ("i", "you", "we", "they"):
        yield word, ("'ve",)
    for word in ("you", "we", "they"):
        yield word, ("'re",)
    for word in ("he", "she", "it"):
        yield word, ("'s",)
    for word in _QUESTIONS + _THESE:
        yield word, will + would + (() if word in _THESE else ("'s",))
        if word not in ("that", "this"):
            yield word, ("'re", "'ve")
    for word in _NEGATED:
        yield word, ("n't",) if word in _NEGATED_ALONE else ("n't", "n't|'ve")
    for word in _MODAL:
        yield word, ("'ve",)
