"""Many small files in few parts: adding one file to a directory rebuilds one part."""

import hashlib

from pipeline.corpus.sources.inputs import InputFile, InputUnit

FILES_PER_PART = 512
LARGE_FILE_BYTES = 32 << 20  # from here on a file is a part of its own


def bucketed(files: list[InputFile], *, large_bytes: int = LARGE_FILE_BYTES) -> list[InputUnit]:
    """Large files alone, small ones spread over 2^k buckets by the hash of their names."""
    large: list[InputFile] = []
    small: list[InputFile] = []
    for file in files:
        (large if file.known_bytes >= min(large_bytes, LARGE_FILE_BYTES) else small).append(file)
    units = [InputUnit(file.name, (file,)) for file in large]
    if len(small) == 1:
        return [*units, InputUnit(small[0].name, tuple(small))]
    return [*units, *_buckets(small)]


def _buckets(files: list[InputFile]) -> list[InputUnit]:
    """2^k named buckets, k by the number of files."""
    bits = max(0, (len(files) // FILES_PER_PART).bit_length())
    buckets: dict[int, list[InputFile]] = {}
    for file in files:
        digest = hashlib.sha256(file.name.encode("utf-8", "surrogatepass")).digest()
        buckets.setdefault(int.from_bytes(digest[:8], "big") >> (64 - bits), []).append(file)
    return [
        InputUnit(f"{number}of{1 << bits}", tuple(buckets[number])) for number in sorted(buckets)
    ]
