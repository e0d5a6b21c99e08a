"""datatrove's MinHash in its four stages on a folder of JSON Lines; runs in the peer's environment.

    python peer_dedup.py FOLDER OUT [--clusters]

Needs datatrove with spaCy and xxhash, and nothing of this project. Kept documents go to OUT/kept,
removed ones to OUT/removed, as plain JSON Lines. With --clusters every document carries the number
of its cluster, and OUT/normalisation.json says what counts as punctuation.
"""

import argparse
import json
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import PUNCTUATION


def main() -> None:
    """Run the stages one after the other, each task in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--clusters", action="store_true")
    given = parser.parse_args()
    out, clusters = given.out, given.clusters
    config = MinhashConfig(
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
        n_grams=5, num_buckets=14, hashes_per_bucket=8,
    )  # fmt: skip
    tasks = len(list(Path(given.folder).glob("*.jsonl")))
    reader = JsonlReader(given.folder, glob_pattern="*.jsonl")

    def run(name: str, pipeline: list[PipelineStep], count: int) -> None:
        LocalPipelineExecutor(
            pipeline, tasks=count, workers=1, logging_dir=f"{out}/logs/{name}"
        ).run()

    run("signatures", [reader, MinhashDedupSignature(f"{out}/signatures", config)], tasks)
    buckets = MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)
    run("buckets", [buckets], config.num_buckets)
    cluster = MinhashDedupCluster(
        f"{out}/buckets", f"{out}/remove", config=config, save_cluster_id=clusters
    )
    run("cluster", [cluster], 1)
    keep = MinhashDedupFilter(
        f"{out}/remove",
        exclusion_writer=JsonlWriter(f"{out}/removed", compression=None),
        load_cluster_ids=clusters,
    )
    run("filter", [reader, keep, JsonlWriter(f"{out}/kept", compression=None)], tasks)
    if clusters:
        text = json.dumps({"punctuation": PUNCTUATION})
        Path(out, "normalisation.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
