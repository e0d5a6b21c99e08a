from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.errors import ConfigError, DataError
from pipeline.tokens.batches import WindowBatches
from pipeline.tokens.batching import AnyBatching, CutWindows, Mixture, PackedDocuments
from pipeline.tokens.mixture import MAX_PERIOD, MixedOrder, lay_out_turns, turns_per_period
from pipeline.tokens.shards import Shards
from pipeline.tokens.streams import by_source
from tests.tokens.byte_shards import copied, mixed_shards, same

SOURCES = {"code": [30] * 80, "web": [90] * 40, "books": [2000, 700, 0]}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return mixed_shards(tmp_path_factory.mktemp("mixture"), SOURCES)


@settings(max_examples=150, deadline=None)
@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=9))
def test_every_prefix_holds_each_share_within_one_sample(counts: list[int]) -> None:
    turns = lay_out_turns(counts)
    period = sum(counts)
    seen = np.cumsum(turns[:, None] == np.arange(len(counts)), axis=0)
    wanted = np.arange(1, period + 1)[:, None] * np.array(counts) / period
    assert (np.abs(seen - wanted) < 1).all()
    assert seen[-1].tolist() == counts


def test_weights_become_exact_turns_or_are_rounded_to_a_65536th() -> None:
    assert turns_per_period([0.7, 0.3]) == [7, 3]
    assert turns_per_period([2, 1, 1]) == [2, 1, 1]
    odd = [0.123456789, 1 / 3, 7.77]
    counts = turns_per_period(odd)
    assert sum(counts) == MAX_PERIOD
    assert np.abs(np.array(counts) / MAX_PERIOD - np.array(odd) / sum(odd)).max() < 2 / MAX_PERIOD
    with pytest.raises(ConfigError, match="above 0"):
        turns_per_period([1, 0])


def test_a_position_far_away_is_found_without_walking_there() -> None:
    order = MixedOrder(1, ("a", "b"), (0, 10, 1000), (0.3, 0.7))
    far = 10**12
    assert np.array_equal(order.ids(far, 40), order.ids(far - 7, 60)[7:47])
    assert order.samples_of(far) == [3 * 10**11, 7 * 10**11]


def test_each_source_passes_through_its_own_epochs() -> None:
    """3 of 10 rows come from the 10 samples of a: each occurs once in every 10 of its turns."""
    order = MixedOrder(1, ("a", "b"), (0, 10, 1000), (0.3, 0.7))
    ids = order.ids(0, 1000)
    of_a = ids[ids < 10].reshape(-1, 10)
    assert len(of_a) == 30
    assert (np.sort(of_a, axis=1) == np.arange(10)).all()
    assert not np.array_equal(of_a[0], of_a[1])
    assert len(np.unique(ids[ids >= 10])) == 700


def test_sources_of_one_shard_become_streams_of_their_own(paths: list[Path]) -> None:
    shards = Shards.open(paths)
    documents: dict[str, list[int]] = {name: [] for name in SOURCES}
    begins: dict[str, list[int]] = {name: [] for name in SOURCES}
    for i in range(shards.num_documents):
        _, source, ids = shards.document(i)
        begins[source].append(len(documents[source]))
        documents[source] += ids.tolist()
    rng = np.random.default_rng(0)
    for source, stream in by_source(shards, ("web", "code", "books")).items():
        assert stream.num_tokens == len(documents[source])
        for _ in range(50):
            start, stop = sorted(rng.integers(0, stream.num_tokens + 1, 2).tolist())
            out = np.empty(stop - start, np.int64)
            inside = stream.read(start, out)
            assert out.tolist() == documents[source][start:stop]
            assert inside == [b - start for b in begins[source] if start <= b < stop]


@pytest.mark.parametrize("kind", [CutWindows, PackedDocuments])
def test_rows_come_from_the_sources_in_their_shares(
    paths: list[Path], kind: type[AnyBatching]
) -> None:
    batching = kind(mixture=Mixture(("web", "code"), (0.75, 0.25)))
    batches = WindowBatches(paths, context_length=32, rows=8, seed=2, batching=batching)
    boundary = batches.samples.starts[1]  # type: ignore[attr-defined]
    for step in range(40):
        ids = batches._order.ids(step * 8, 8)
        assert (ids < boundary).sum() == 6
    seen = batches.epochs(40)
    sizes = np.diff(batches.samples.starts)  # type: ignore[attr-defined]
    assert seen == {"web": 240 / sizes[0], "code": 80 / sizes[1]}


def test_a_mixture_resumes_anywhere_on_any_number_of_ranks(paths: list[Path]) -> None:
    batching = PackedDocuments(mixture=Mixture(("books", "code"), (1, 2)))

    def fresh(rank: int = 0, world: int = 1) -> WindowBatches:
        return WindowBatches(
            paths, context_length=24, rows=6, seed=5, batching=batching, rank=rank, world=world
        )

    running = fresh()
    sequence = [copied(running.batch(step)) for step in range(50)]
    for start in (0, 1, 17, 49):
        for rank in range(3):
            expected = {name: values[rank::3] for name, values in sequence[start].items()}
            assert same(fresh(rank, 3).batch(start), expected)


def test_unknown_and_too_short_sources_are_named(paths: list[Path], tmp_path: Path) -> None:
    def opened(*sources: str) -> WindowBatches:
        batching = CutWindows(mixture=Mixture(sources, (1,) * len(sources)))
        return WindowBatches(paths, context_length=3000, rows=1, batching=batching)

    with pytest.raises(ConfigError, match="'wiki'; the shards hold .*books"):
        opened("books", "wiki")
    with pytest.raises(DataError, match="the source code holds 2560; lower .* at most 2559"):
        opened("code", "books")


@pytest.mark.parametrize(
    ("sources", "weights", "message"),
    [((), (), "at least one"), (("a", "b"), (1.0,), "2 sources and 1 weights"),
     (("a", "a"), (1.0, 2.0), "one twice"), (("a",), (-1.0,), "greater than 0")],
)  # fmt: skip
def test_impossible_mixtures_are_refused(
    sources: tuple[str, ...], weights: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(sources, weights)
