"""Bias, measured: does a rule drop the texts that mention a group of people more often than others?

    batch -> mentions -> (N,) bool per group, stored beside the measures as `mentions.GROUP`
    measures of all parts -> count -> rows: rule x group, drop rate, ratio to the overall rate

C4's block list removed texts by and about some identities far more often than the rest (Dodge et
al. 2021); a ratio above 1.5 whose interval excludes 1 is flagged here. A word is no person: the
table says where to look, not what is unjust.

Legend: N documents, G groups, R rules.
"""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.word_file import FileRef
from pipeline.corpus.intervals import ratio_interval, wilson
from pipeline.corpus.rewrites.spans import Text
from pipeline.corpus.wordlists.matcher import TermMatcher
from pipeline.store.errors import ConfigError
from pipeline.store.files import check_name
from pipeline.store.settings_file import parse_yaml

MENTIONS = "mentions."
ANY_RULE = "any rule"
RATIO_LIMIT = 1.5


@dataclass(frozen=True)
class TermGroup:
    """People a text may be about, and the words that tell so, in all languages."""

    name: str
    category: str
    terms: tuple[str, ...]


class GroupFile(FileRef):
    """A YAML file `category: {group: {language: [words]}}`; `shipped:groups` is ours."""

    shipped_suffix = ".yaml"

    def groups(self) -> tuple[TermGroup, ...]:
        """The groups in the file's order."""
        return _groups(self)

    @classmethod
    def _digest(cls, path: str) -> str:
        found = super()._digest(path)
        try:
            _parse_groups(cls._read(path), path)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return found


@functools.cache
def shipped_groups() -> GroupFile:
    """The groups that come with the project."""
    return GroupFile.model_validate("shipped:groups")


def mentions(batch: TextBatch, groups: GroupFile | None = None) -> dict[str, npt.NDArray[np.bool_]]:
    """(N,) by group: whether the document holds one of its words."""
    file = groups or shipped_groups()
    counts = _matcher(file).find(Text.of(batch)).counts  # (N, G)
    return {group.name: counts[:, i] > 0 for i, group in enumerate(file.groups())}


@dataclass
class BiasCounts:
    """Documents by rule and group; counts of several parts add up."""

    documents: int = 0
    mentioning: Counter[str] = field(default_factory=Counter)
    """By group."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By rule: documents it objected to, whichever rule came first."""
    dropped_mentioning: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (rule, group)."""

    def add(self, table: pa.Table) -> None:
        """Count the rows of a part's measures; a part without mentions is refused."""
        names = [name for name in table.column_names if name.startswith(MENTIONS)]
        if not names:
            raise ConfigError("the measures hold no mentions; clean with `bias` switched on once")
        groups = [name.removeprefix(MENTIONS) for name in names]
        matrix = np.stack([_flags(table.column(name)) for name in names], axis=1)  # (N, G)
        rules, owners = _objections(table)
        self.documents += table.num_rows
        self.mentioning.update(dict(zip(groups, matrix.sum(0).tolist(), strict=True)))
        by_rule: dict[str, npt.NDArray[np.int64]] = {ANY_RULE: np.unique(owners)}
        for rule in sorted(set(rules)):
            rows = owners[np.fromiter((name == rule for name in rules), np.bool_, len(rules))]
            by_rule[rule] = np.unique(rows)
        for rule, rows in by_rule.items():
            self.dropped[rule] += len(rows)
            for group, count in zip(groups, matrix[rows].sum(0).tolist(), strict=True):
                self.dropped_mentioning[rule, group] += count


@dataclass(frozen=True)
class BiasRow:
    """One rule and one group; rates are shares of documents, intervals hold with 95 %."""

    rule: str
    group: str
    category: str
    mentioning: int
    dropped: int
    """Of those that mention the group."""
    rate: float
    interval: tuple[float, float]
    """Wilson's, of `rate`."""
    overall: float
    """Drop rate of all documents."""
    ratio: float | None
    """`rate / overall`; None where the rule dropped nothing or nothing mentions the group."""
    ratio_interval: tuple[float, float] | None
    flagged: bool
    """The ratio exceeds 1.5, its interval excludes 1, the rate's excludes the overall rate."""


def bias_table(
    measures: Iterable[pa.Table], groups: Sequence[TermGroup] | None = None
) -> list[BiasRow]:
    """Every rule with every group that occurs, flagged ones first, then by falling ratio."""
    counts = BiasCounts()
    for table in measures:
        counts.add(table)
    return bias_rows(counts, groups)


def bias_rows(counts: BiasCounts, groups: Sequence[TermGroup] | None = None) -> list[BiasRow]:
    """The rows of `bias_table` from counts that were added up before."""
    known = groups if groups is not None else shipped_groups().groups()
    categories = {group.name: group.category for group in known}
    rows = [
        _row(counts, rule, group, categories.get(group, ""))
        for rule in sorted(counts.dropped)
        for group in sorted(counts.mentioning)
        if counts.mentioning[group]
    ]
    return sorted(rows, key=lambda row: (not row.flagged, -(row.ratio or 0), row.rule, row.group))


def _row(counts: BiasCounts, rule: str, group: str, category: str) -> BiasRow:
    total, dropped = counts.documents, counts.dropped[rule]
    mentioning, dropped_here = counts.mentioning[group], counts.dropped_mentioning[rule, group]
    rate, overall = dropped_here / mentioning, dropped / total
    ratio = rate / overall if dropped else None
    interval = ratio_interval(dropped_here, mentioning, dropped, total) if dropped else None
    share = wilson(dropped_here, mentioning)
    # The ratio's interval is an approximation for many documents; Wilson's holds for few as well.
    flagged = (
        ratio is not None
        and interval is not None
        and ratio > RATIO_LIMIT
        and interval[0] > 1
        and share[0] > overall
    )
    return BiasRow(
        rule=rule,
        group=group,
        category=category,
        mentioning=mentioning,
        dropped=dropped_here,
        rate=rate,
        interval=share,
        overall=overall,
        ratio=ratio,
        ratio_interval=interval,
        flagged=flagged,
    )


def _flags(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    values: npt.NDArray[np.bool_] = column.fill_null(False).to_numpy().astype(np.bool_)
    return values


def _objections(table: pa.Table) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Every objection of every document, and the row of its document."""
    if "reasons" in table.column_names:
        column = table.column("reasons").combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = (
                pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
            )
        owners = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
        return column.flatten().to_pylist(), owners.astype(np.int64)
    reasons = table.column("reason").to_pylist()
    rows = [row for row, reason in enumerate(reasons) if reason]
    return [reasons[row] for row in rows], np.array(rows, np.int64)


@functools.lru_cache(maxsize=8)
def _matcher(file: GroupFile) -> TermMatcher:
    return TermMatcher([group.terms for group in file.groups()])


@functools.lru_cache(maxsize=8)
def _groups(file: GroupFile) -> tuple[TermGroup, ...]:
    return _parse_groups(file.content(), file.path)


def _parse_groups(data: bytes, path: str) -> tuple[TermGroup, ...]:
    """ConfigError unless it is `category: {group: {language: [words]}}` with distinct groups."""
    try:
        tree: Any = parse_yaml(data.decode("utf-8-sig"), where=path)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8; save it as UTF-8") from error
    wanted = f"{path} must read `category: {{group: {{language: [words]}}}}`"
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(wanted)
    found: dict[str, TermGroup] = {}
    for category, members in tree.items():
        if not isinstance(members, dict):
            raise ConfigError(f"{wanted}; {category!r} holds no groups")
        for name, languages in members.items():
            check_name(str(name), what="group")
            if name in found:
                raise ConfigError(f"{path} names the group {name!r} twice; choose another name")
            if not isinstance(languages, dict) or not all(
                isinstance(words, list) and all(isinstance(word, str) for word in words)
                for words in languages.values()
            ):
                raise ConfigError(f"{wanted}; the group {name!r} has no lists of words")
            terms = tuple(dict.fromkeys(word for words in languages.values() for word in words))
            if not terms:
                raise ConfigError(f"{path}: the group {name!r} has no words; give it some")
            found[str(name)] = TermGroup(str(name), str(category), terms)
    return tuple(found.values())
