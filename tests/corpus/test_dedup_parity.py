"""The parity mode's text, hashes and permutations are datatrove's; its answers lie in a file.

`data/dedup_parity.json` holds sentences of our own with what datatrove 0.10.1 makes of them: the
normalised text, its words, and the entries 0, 55 and 111 of the signature.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.dedup_clusters import common_pairs
from benchmarks.dedup_parity import components, normal, signatures

KNOWN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "dedup_parity.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("document", KNOWN["documents"], ids=lambda d: str(d["text"][:12]))
def test_normal_text_and_signatures_are_the_peers(document: dict[str, Any]) -> None:
    assert normal(document["text"], KNOWN["punctuation"]) == document["normal"]
    found, has_grams = signatures([[word.encode() for word in document["words"]]])
    if document["signature"] is None:
        assert not has_grams[0]
    else:
        assert found[0, [0, 55, 111]].tolist() == document["signature"]


def test_components_join_whatever_shares_a_band() -> None:
    keys = np.array([[5, 5, 7, 0, 0, 9], [1, 2, 2, 0, 0, 3]], np.uint64)
    assert components(keys) == [[0, 1, 2]]


def test_pairs_of_two_partitions_are_counted() -> None:
    a = frozenset({frozenset("abc"), frozenset("xy")})
    b = frozenset({frozenset("abd"), frozenset("xyz")})
    assert common_pairs(a, b) == (4, 6, 2)
