"""What became of one document in a cleaned corpus, and why."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import kept_parts
from pipeline.corpus.document import open_documents
from pipeline.corpus.rejects import MEASURES


def journey(corpus: CleanedCorpus, doc_id: str) -> dict[str, Any] | None:
    """`{"verdict": ..., "measures": {...}}` of a document, None if the corpus never judged it.

    The verdict is `kept`, `rejected: <reason>`, or `removed: <reason>` of which document.
    """
    for part in kept_parts(corpus):
        table = pq.read_table(part.path / MEASURES, filters=pc.field("doc_id") == doc_id)
        if table.num_rows == 0:
            continue
        row = table.to_pylist()[0]
        measures = {name: value for name, value in row.items() if "." in name}
        if row["reason"] is not None:
            return {"verdict": f"rejected: {row['reason']}", "measures": measures}
        return {"verdict": _removal(part.removed, doc_id) or "kept", "measures": measures}
    return None


def _removal(removed: Path, doc_id: str) -> str | None:
    """`removed: exact_duplicate of other/doc (Jaccard 0.93)`, None if the document stayed."""
    with open_documents(removed) as reader:
        rows = reader.read_all().filter(pc.field("doc_id") == doc_id).to_pylist()
    if not rows:
        return None
    row = rows[0]
    of = f" of {row['duplicate_of']}" if row["duplicate_of"] else ""
    jaccard = f" (Jaccard {row['jaccard']:.2f})" if row["jaccard"] is not None else ""
    return f"removed: {row['reason']}{of}{jaccard}"
