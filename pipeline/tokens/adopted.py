"""The tokenizer of a model that others trained: its `tokenizer.json` as one of ours.

byte-level BPE -> ranks, pattern, special tokens, roles -> Tokenizer, tried on hard strings

Only what cuts every one of them into the same ids is taken. Special tokens keep their ids; roles
the model has no token for get one behind them. As everywhere here, text never becomes a special
token, and a conversation is written with our role tokens, not by the model's own template.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tokenizers

from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.files import read_json, sha256_file
from pipeline.store.fingerprint import digest
from pipeline.tokens.merges import Ranks, check_ranks, merge_of
from pipeline.tokens.nasty import nasty_strings
from pipeline.tokens.patterns import PATTERNS, for_huggingface
from pipeline.tokens.ranks import END_OF_TEXT, byte_alphabet
from pipeline.tokens.tokenizer import BOS, EOS, MASK, PAD, SPECIALS, Tokenizer

FILE = "tokenizer.json"
# Digits each by itself, then GPT-2's split of what is between (SmolLM, StarCoder), as one
# expression: white space before a digit stands at an end there.
_DIGITS_THEN_GPT2 = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+"
)


class Described(NamedTuple):
    """What the files beside `tokenizer.json` say: special tokens by role, and all of them."""

    named: dict[str, str | int]
    """bos, eos, pad -> its text, or its id where only the model's config.json names it."""
    added: dict[str, int]


def adopt(directory: Path) -> Tokenizer:
    """The tokenizer in a Hugging Face directory.

    ConfigError where it is not there or not a byte-level BPE such as ours, DataError for a damaged
    file.
    """
    file = _file(directory)
    document, described = _read(file), describe(directory)
    try:
        return _adopt(document, described, file)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise DataError(f"{file} is damaged: {error!r:.200}; fetch it again") from error


def identity(directory: Path) -> str:
    """A digest of all that decides what `adopt` returns, wherever the directory lies."""
    named, added = describe(directory)
    return digest({"file": sha256_file(_file(directory)), "named": named, "added": added})


def describe(directory: Path) -> Described:
    """What tokenizer_config.json, special_tokens_map.json and config.json say, the first first."""
    named: dict[str, str | int] = {}
    added: dict[str, int] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json", "config.json"):
        path = directory / name
        found = _read(path) if path.is_file() else {}
        if not isinstance(found, dict):
            raise DataError(f"{path} is no JSON object; fetch it again")
        for role in ("bos", "eos", "pad"):
            token = found.get(f"{role}_token", found.get(f"{role}_token_id"))
            token = token.get("content") if isinstance(token, dict) else token
            token = token[0] if isinstance(token, list) and token else token
            if isinstance(token, str | int) and not isinstance(token, bool):
                named.setdefault(role, token)
        listed = found.get("added_tokens_decoder")
        for i, entry in (listed if isinstance(listed, dict) else {}).items():
            if i.isdecimal() and isinstance(entry, dict) and isinstance(entry.get("content"), str):
                added.setdefault(entry["content"], int(i))
    return Described(named, added)


def _file(directory: Path) -> Path:
    if not (directory / FILE).is_file():
        raise ConfigError(
            f"tokenizer.path={directory} holds no {FILE}; give the directory of a downloaded model"
        )
    return directory / FILE


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ArtifactError as error:
        raise DataError(f"{path} cannot be read: {error.__cause__}; fetch it again") from error


def _adopt(document: Mapping[str, Any], described: Described, file: Path) -> Tokenizer:
    model = document["model"]
    if model["type"] != "BPE":
        raise ConfigError(f"{file} is a {model['type']} model; only byte-level BPE can be used")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise ConfigError(
                f"{file} has {key}={model[key]!r}; only a plain byte-level BPE can be used"
            )
    vocabulary: Mapping[str, int] = model["vocab"]
    added = _added(document, described, vocabulary, file)
    ranks = _ranks(vocabulary, added, where=str(file))
    merges = _merges(model["merges"])
    if not _same_merges(ranks, merges, whole_words=bool(model.get("ignore_merges"))):
        raise ConfigError(
            f"{file} does not merge in the order of its ids, as ours must; use another model"
        )
    pattern = _pattern(document.get("pre_tokenizer") or {}, where=str(file))
    specials, roles = _roles(added, described.named, file, first=1 + _last(ranks, added))
    normalizer = _normalizer(document.get("normalizer"), where=str(file))
    tokenizer = Tokenizer("huggingface", pattern, ranks, specials, roles, normalizer)
    _try(tokenizer, file)
    return tokenizer


def _added(
    document: Mapping[str, Any], described: Described, vocabulary: Mapping[str, int], file: Path
) -> dict[str, int]:
    """All tokens that are no pieces of text -> id."""
    added = {}
    for token in document.get("added_tokens") or ():
        text = token["content"]
        if not token.get("special") and (text.isalnum() or text.isspace()):
            raise ConfigError(
                f"{file} takes the ordinary text {text!r} out as a token before cutting; use "
                "another model"
            )
        added[text] = int(token["id"])
    for text, i in described.added.items():
        added.setdefault(text, i)
    for named in described.named.values():
        if isinstance(named, str) and named in vocabulary:
            added.setdefault(named, vocabulary[named])
    if len(set(added.values())) < len(added):
        raise DataError(f"{file} gives one id to several added tokens; fetch it again")
    return added


def _ranks(vocabulary: Mapping[str, int], added: Mapping[str, int], *, where: str) -> Ranks:
    byte = {character: value for value, character in byte_alphabet().items()}
    try:
        ranks = {
            bytes(byte[character] for character in text): int(rank)
            for text, rank in vocabulary.items()
            if text not in added
        }
    except KeyError as error:
        raise ConfigError(
            f"{where} is no byte-level vocabulary: it has {error}; use another model"
        ) from error
    if not set(added.values()).isdisjoint(ranks.values()):
        raise DataError(f"{where} gives one id to text and to an added token; fetch it again")
    check_ranks(ranks, where=where, others=added.values())
    return ranks


def _last(ranks: Ranks, added: Mapping[str, int]) -> int:
    return max(*ranks.values(), *added.values())


def _merges(listed: Sequence[str | Sequence[str]]) -> list[tuple[bytes, bytes]]:
    byte = {character: value for value, character in byte_alphabet().items()}
    merges = []
    for merge in listed:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        merges.append((bytes(byte[c] for c in left), bytes(byte[c] for c in right)))
    return merges


def _same_merges(ranks: Ranks, merges: Sequence[tuple[bytes, bytes]], *, whole_words: bool) -> bool:
    """Whether merging the pair of lowest id, as we do, is merging by their list.

    `whole_words`: a piece of text that is a token is taken whole, as we always do.
    """
    order = [ranks[left + right] for left, right in merges]
    known = set(merges)
    made = {t: merge_of(t, ranks) for t in ranks if len(t) > 1}
    return order == sorted(order) and all(
        whole_words if pair is None else pair in known for pair in made.values()
    )


def _normalizer(described: Mapping[str, Any] | None, *, where: str) -> Literal["NFC"] | None:
    if described is None:
        return None
    steps = described.get("normalizers", [described])
    kinds = [step["type"] for step in steps]
    if kinds in ([], ["NFC"]):
        return "NFC" if kinds else None
    raise ConfigError(
        f"{where} has the normalizer {', '.join(kinds)}; only NFC or none can be used"
    )


def _pattern(described: Mapping[str, Any], *, where: str) -> str:
    """The regular expression that cuts text; ours in our own spelling, which is found faster."""
    steps = described.get("pretokenizers", [described])
    match [(step.get("type"), step.get("use_regex", True)) for step in steps]:
        case [("ByteLevel", True)]:
            return PATTERNS["gpt2"]
        case [("Digits", _), ("ByteLevel", True)] if steps[0].get("individual_digits"):
            return _DIGITS_THEN_GPT2
        case [("Split", _), ("ByteLevel", False)] if "Regex" in steps[0]["pattern"]:
            theirs = str(steps[0]["pattern"]["Regex"])
            ours = (own for own in PATTERNS.values() if for_huggingface(own) == theirs)
            return next(ours, theirs)
    raise ConfigError(
        f"{where} does not cut text by one regular expression alone; use another model"
    )


def _roles(
    added: Mapping[str, int], named: Mapping[str, str | int], file: Path, *, first: int
) -> tuple[dict[str, int], dict[str, str]]:
    """All special tokens, and which plays what: bos, eos and pad as configured, ours by name."""
    by_id = {i: text for text, i in added.items()}

    def known(role: str, *names: str) -> str | None:
        configured = named.get(role)
        text = by_id.get(configured) if isinstance(configured, int) else configured
        return next((name for name in (text, *names) if name in added), None)

    eos = known("eos", EOS, END_OF_TEXT)
    if eos is None or (isinstance(named.get("eos"), str) and eos != named["eos"]):
        raise ConfigError(
            f"{file.parent} names no eos_token that {FILE} has; add it to tokenizer_config.json"
        )
    specials = dict(added)
    roles = {BOS: known("bos", BOS) or eos, EOS: eos, PAD: known("pad", PAD) or PAD}
    roles |= {role: role for role in SPECIALS if role not in roles}
    for text in roles.values():
        if text not in specials:
            specials[text], first = first, first + 1
    if MASK in added:
        roles[MASK] = MASK
    return specials, roles


def _try(tokenizer: Tokenizer, file: Path) -> None:
    """ConfigError where both cut a hard string differently."""
    try:
        theirs = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises nothing narrower
        raise DataError(f"{file} cannot be read: {error}; fetch it again") from error
    theirs.no_truncation()
    theirs.no_padding()
    for text in (data.decode("utf-8") for data in nasty_strings()):
        if any(token in text for token in tokenizer.specials):  # there a token, here text
            continue
        try:
            ids = tokenizer.encode(text)
        except ValueError as error:
            raise ConfigError(
                f"{file}: its regular expression cannot be run here: {error}; use another model"
            ) from error
        if theirs.encode(text, add_special_tokens=False).ids != ids:
            raise ConfigError(
                f"{file} cuts {text[:40]!r} into other ids than ours can; use another model"
            )
