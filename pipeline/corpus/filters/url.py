"""URL filters: documents from listed domains and addresses, or with listed words in the address.

    metadata `url` -> host and words of the address -> 0/1 and counts -> a reason

A domain covers its subdomains; case, ports, user names, a final dot and punycode make no
difference. Lists may be plain, in hosts format (`0.0.0.0 bad.example`) or in AdBlock's
(`||bad.example^`).
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.corpus.document import TextBatch, metadata_column
from pipeline.corpus.filters.base import Codes, Filter, Measures
from pipeline.corpus.filters.word_file import WordFile
from pipeline.corpus.rewrites.spans import Text
from pipeline.corpus.wordlists.matcher import TermMatcher
from pipeline.store.errors import DataError

MAX_URL_CHARS = 8192  # what servers accept at most (RFC 9110 asks for 8000 octets); the rest is cut
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?=//)|(?:https?|ftp):", re.IGNORECASE)
_NO_WORD = re.compile(r"[\W_]+")
_PORT = re.compile(r":\d*$")
_DEFAULT_PORT = re.compile(r":(?:80|443|21)?$")
_PLAIN_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_ADBLOCK = re.compile(r"\|\|([^/^$*|]+)\^?")
_ADBLOCK_ELSE = re.compile(r"[!|/\[]|@@|.*\S#[@?$%]*#")  # hides parts of pages, or allows
_IP_IN_FRONT = re.compile(r"^(?:\d{1,3}(?:\.\d{1,3}){3}|::1?)\s+(?=\S)")


class UrlFilter(Filter):
    """Which addresses documents may not come from; at least one list is needed."""

    kind: Literal["url"] = "url"
    domains: WordFile | None = Field(
        None, title="Domains", description="File of domains; subdomains are covered."
    )
    urls: WordFile | None = Field(
        None, title="Addresses", description="File of whole addresses, with or without https://."
    )
    words: WordFile | None = Field(
        None, title="Words", description="File of words; one of them in the address is enough."
    )
    soft_words: WordFile | None = Field(
        None, title="Soft words", description="File of words; several must occur in the address."
    )
    max_soft_words: int = Field(
        1,  # two drop a document, as in RefinedWeb (Penedo et al. 2023, appendix G.1)
        ge=0,
        title="Most soft words",
        description="Addresses with more distinct soft words are dropped.",
    )
    subwords: WordFile | None = Field(
        None, title="Parts of words", description="File of strings that may stand inside a word."
    )
    require_url: bool = Field(
        False, title="Drop documents without an address", description="Otherwise they are kept."
    )

    reasons: ClassVar[tuple[str, ...]] = (
        "no_url",
        "domain",
        "url",
        "word",
        "soft_words",
        "subword",
    )

    @model_validator(mode="after")
    def _has_a_list(self) -> "UrlFilter":
        lists = (self.domains, self.urls, self.words, self.soft_words, self.subwords)
        if not any(lists) and not self.require_url:
            raise ValueError(
                "blocks nothing; name a file for domains, urls, words, soft_words or subwords"
            )
        if self.domains is not None and self.domains.path:  # else known by its content only
            try:
                _domains(self.domains)
            except DataError as error:
                raise ValueError(f"{self.domains.path}: {error}") from error
        return self

    def measure(self, batch: TextBatch) -> Measures:
        """`present`, `domain`, `url` (0 or 1), `words`, `soft_words` (distinct), `subwords`."""
        urls = [value.strip()[:MAX_URL_CHARS] if value else "" for value in _urls(batch)]
        hosts, bare = [], []
        for url in urls:
            host, rest = split_url(url)
            hosts.append(host)
            bare.append(_bare(url, host, rest))
        domains, listed = _domains(self.domains), _addresses(self.urls)
        zeros = np.zeros(len(batch), np.int32)
        plain = [unquote(url, errors="replace").lower() for url in urls]
        spaced = _text([_NO_WORD.sub(" ", url) for url in plain])
        squeezed = _text([_NO_WORD.sub("", url) for url in plain])
        return {
            "present": np.array([bool(url) for url in urls], np.int32),
            "domain": np.array([is_listed(host, domains) for host in hosts], np.int32),
            "url": np.array([address in listed for address in bare], np.int32),
            "words": _occurrences(self.words, spaced) if self.words else zeros,
            "soft_words": _distinct(self.soft_words, spaced) if self.soft_words else zeros,
            "subwords": _occurrences(self.subwords, squeezed, whole=False)
            if self.subwords
            else zeros,
        }

    def judge(self, measures: Mapping[str, npt.NDArray[Any]]) -> Codes:
        """The first reason in the order of `reasons`."""
        present = np.asarray(measures["present"]) > 0
        return self.first_failure(
            [
                ~present & self.require_url,
                np.asarray(measures["domain"]) > 0,
                np.asarray(measures["url"]) > 0,
                np.asarray(measures["words"]) > 0,
                np.asarray(measures["soft_words"]) > self.max_soft_words,
                np.asarray(measures["subwords"]) > 0,
            ]
        )


def split_url(url: str) -> tuple[str, str]:
    """(host in lower-case ASCII without user and port, what follows it); ("", url) without one."""
    rest = _SCHEME.sub("", url, count=1) if _SCHEME.match(url) else url
    # Browsers read a backslash as a slash: http:\\bad.example\x must not slip through.
    rest = rest.replace("\\", "/").lstrip("/")
    end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
    authority, rest = rest[:end].rpartition("@")[2], rest[end:]
    return normal_host(_PORT.sub("", unquote(authority))), rest


def normal_host(host: str) -> str:
    """Lower case, punycode, no final dot: `BÜCHER.example.` -> `xn--bcher-kva.example`."""
    host = host.strip().lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").lower()
        except UnicodeError:
            pass  # no name the DNS could hold: compared as it stands
    return host.rstrip(".")


def is_listed(host: str, domains: frozenset[str]) -> bool:
    """Whether the host or a domain above it is listed."""
    if not domains or not host:
        return False
    if host in domains:
        return True
    position = host.find(".")
    while position >= 0:
        if host[position + 1 :] in domains:
            return True
        position = host.find(".", position + 1)
    return False


def _bare(url: str, host: str, rest: str) -> str:
    """An address without what makes no difference: scheme, user, default port, fragment, slash."""
    authority = url[: len(url) - len(rest)] if rest else url
    port = _PORT.search(authority)
    kept = port.group() if port and not _DEFAULT_PORT.search(authority) else ""
    return host + kept + rest.partition("#")[0].rstrip("/")


def _urls(batch: TextBatch) -> list[str | None]:
    return metadata_column(batch, "url")


def _text(strings: list[str]) -> Text:
    return Text.of(TextBatch.of([s.encode("utf-8", "replace").decode() for s in strings]))


@functools.lru_cache(maxsize=8)
def _domains(file: WordFile | None) -> frozenset[str]:
    if file is None:
        return frozenset()
    hosts = {_host_of_entry(entry) for entry in file.entries()}
    return frozenset(host for host in hosts if host)


def _host_of_entry(entry: str) -> str:
    """The domain of a line in a plain, hosts or AdBlock list; "" for a line without one.

    DataError for an address with a path: to block its whole domain would be another wish.
    """
    if _PLAIN_HOST.fullmatch(entry):  # nearly all lines of lists with a million of them
        return entry
    whole = _ADBLOCK.fullmatch(entry)
    if whole or _ADBLOCK_ELSE.match(entry):  # a rule that blocks no whole domain says nothing here
        return normal_host(whole[1]) if whole else ""
    line = _IP_IN_FRONT.sub("", entry.partition("#")[0].strip()).removesuffix("^")
    host, rest = split_url(line.removeprefix("*.").lstrip("."))
    if rest.strip("/"):
        raise DataError(
            f"{entry!r} in a list of domains is an address with a path; name the domain alone, or "
            "put the address into the list `urls`"
        )
    return host


@functools.lru_cache(maxsize=8)
def _addresses(file: WordFile | None) -> frozenset[str]:
    if file is None:
        return frozenset()
    return frozenset(_bare(entry, *split_url(entry)) for entry in file.entries())


def _occurrences(file: WordFile, text: Text, *, whole: bool = True) -> npt.NDArray[np.int32]:
    return _matcher(file, whole).find(text).counts[:, 0]


def _distinct(file: WordFile, text: Text) -> npt.NDArray[np.int32]:
    counts = _matcher_of_each(file).find(text).counts
    return (counts > 0).sum(axis=1).astype(np.int32)


@functools.lru_cache(maxsize=16)
def _matcher(file: WordFile, whole: bool) -> TermMatcher:
    between = " " if whole else ""
    return TermMatcher([_usable(file, between)], whole_words=whole)


@functools.lru_cache(maxsize=8)
def _matcher_of_each(file: WordFile) -> TermMatcher:
    return TermMatcher([[term] for term in _usable(file, " ")])


def _usable(file: WordFile, between: str) -> list[str]:
    """The entries as they would appear in an address; DataError where none has a letter."""
    terms = [_NO_WORD.sub(between, entry.lower()).strip() for entry in file.entries()]
    found = list(dict.fromkeys(term for term in terms if term))
    if not found:
        raise DataError(f"{file.path} holds no word made of letters or digits")
    return found
