"""What became of one document in a cleaned corpus, and why."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import KeptPart, kept_parts
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
        verdict = _removal(part.removed, doc_id) or _kept(part, doc_id)
        return {"verdict": verdict, "measures": measures}
    return None


def _removal(removed: Path, doc_id: str) -> str | None:
    """`removed: exact_duplicate of other/doc (Jaccard 0.93)`, None if the document stayed."""
    with open_documents(removed) as reader:
        rows = reader.read_all().filter(pc.field("doc_id") == doc_id).to_pylist()
    if not rows:
        return None
    row = rows[0]
    told = f"removed: {row['reason']}{_origin(row)}"
    if row["jaccard"] is not None:
        told += f" (Jaccard {row['jaccard']:.2f})"
    keeper = row.get("keeper")
    return told + (f", {keeper} stays" if keeper not in (None, row["duplicate_of"]) else "")


def _kept(part: KeptPart, doc_id: str) -> str:
    """`kept`, or `kept, less 120 bytes: held_out_text of quiz.jsonl:3 in quiz`."""
    if part.cuts is None:
        return "kept"
    with open_documents(part.cuts) as reader:
        rows = reader.read_all().filter(pc.field("doc_id") == doc_id).to_pylist()
    if not rows:
        return "kept"
    num_bytes = sum(row["end"] - row["begin"] for row in rows)
    reasons = dict.fromkeys(f"{row['reason']}{_origin(row)}" for row in rows)
    return f"kept, less {num_bytes} bytes: {', '.join(reasons)}"


def _origin(row: dict[str, Any]) -> str:
    """` of DOCUMENT in SET`, as far as they are known."""
    of = f" of {row['duplicate_of']}" if row["duplicate_of"] else ""
    return of + (f" in {row['duplicate_in']}" if row.get("duplicate_in") else "")
