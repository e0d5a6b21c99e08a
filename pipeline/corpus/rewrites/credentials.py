r"""Credentials that slipped into text: API keys known by their prefix, and blocks of private keys.

    every byte -> runs of 16 or more key characters (compiled) -> two-byte prefix -> expression

A key is known by its issuer's prefix and length, as the issuers document them; a random-looking
string without one stays. All expressions are anchored at a run's start and cannot backtrack far.
"""

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.corpus.kernels.compiled import leaf
from pipeline.corpus.rewrites.spans import I64, Text

Found = tuple[str, int, int]
MIN_RUN = 16
_DOT, _DASH, _LOW = (ord(char) for char in ".-_")
MAX_PRIVATE_KEY = 32_768  # bytes of one block; a 16,384-bit RSA key takes 13,000
_KEY = re.compile(
    rb"(?:"
    + rb"|".join(
        (
            rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])",  # AWS
            rb"gh[pousr]_[A-Za-z0-9]{36,251}",  # GitHub
            rb"github_pat_[A-Za-z0-9_]{40,244}",
            rb"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,300}",  # GitLab
            rb"sk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,200}",  # OpenAI
            rb"sk-ant-[A-Za-z0-9_-]{24,200}",  # Anthropic
            rb"sk-or-v1-[0-9a-f]{64}",  # OpenRouter
            rb"sk-[A-Za-z0-9]{32,64}(?![A-Za-z0-9])",  # OpenAI of old, DeepSeek and others
            rb"xox[abeoprs]-(?:\d-)?[A-Za-z0-9-]{10,250}",  # Slack
            rb"xapp-\d-[A-Z0-9]{8,15}-\d{8,16}-[A-Za-z0-9]{32,80}",
            rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",  # Google
            rb"GOCSPX-[A-Za-z0-9_-]{28}",
            rb"ya29\.[A-Za-z0-9_-]{20,1000}",
            rb"(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,247}",  # Stripe
            rb"whsec_[A-Za-z0-9]{24,64}",
            rb"eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{0,2000}",  # JWT
            rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])",
            rb"pypi-AgE[A-Za-z0-9_-]{50,1000}",
            rb"hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])",  # Hugging Face
            rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",  # SendGrid
            rb"SK[0-9a-f]{32}(?![A-Za-z0-9])",  # Twilio
            rb"do[por]_v1_[0-9a-f]{64}",  # DigitalOcean
            rb"LTAI[A-Za-z0-9]{12,24}(?![A-Za-z0-9])",  # Alibaba Cloud
            rb"AKID[A-Za-z0-9]{32}(?![A-Za-z0-9])",  # Tencent Cloud
            rb"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
            rb"AGE-SECRET-KEY-1[A-Z0-9]{58}",
        )
    )
    + rb")"
)
_TELEGRAM = re.compile(rb"\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])")
_PREFIXES = (
    b"AKI", b"ASI", b"ABI", b"ACC", b"ghp", b"gho", b"ghu", b"ghs", b"ghr", b"git", b"glp", b"gld",
    b"glr", b"glc", b"glf", b"gli", b"gla", b"gls", b"sk-", b"sk_", b"pk_", b"rk_", b"xox", b"xap",
    b"AIz", b"GOC", b"ya2", b"whs", b"eyJ", b"npm", b"pyp", b"hf_", b"SG.", b"dop", b"doo", b"dor",
    b"LTA", b"shp", b"AGE", b"AAE", b"AAF", b"AAG", b"AAH",
    *(b"SK%x" % digit for digit in range(16)),
)  # fmt: skip
"""The first three bytes of every key, and of the second half of Telegram's."""
# Keys without a prefix of their own: a literal that says what follows, and what a key looks like.
_ASSIGNED = rb"[\"'\\]{0,2}[ \t]{0,4}[:=]>?[ \t]{0,4}[\"'\\]{0,2}"
_AWS_SECRET = re.compile(_ASSIGNED + rb"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")
_NAMED = (
    (b"ecret_access_key", _AWS_SECRET),
    (b"ECRET_ACCESS_KEY", _AWS_SECRET),
    (b"ecretAccessKey", _AWS_SECRET),
    (b"AccountKey=", re.compile(rb"([A-Za-z0-9+/]{86}==)")),  # Azure storage
    (b"hooks.slack.com/services/", re.compile(rb"(T\w{6,20}/B\w{6,20}/\w{20,40})")),
)
_BEGIN = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    rb"|---- BEGIN SSH2 (?:ENCRYPTED )?PRIVATE KEY ----"
)
_END = re.compile(rb"----(?:-END|[ ]END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-----?")
# What belongs to a cut-off key: long lines of base64, and one shorter line behind the last of them.
_KEY_LINES = re.compile(
    rb"(?:(?:\\[nr]|\s)*[A-Za-z0-9+/=]{16,})*"
    rb"(?:(?:\\r|\r)?(?:\\n|\n)[A-Za-z0-9+/=]{1,76}(?=[\r\n]|\\[nr]|\Z))?"
)


def api_key_spans(text: Text) -> Iterator[Found]:
    """API keys: ("api_keys", start, end) in bytes, in no order."""
    first, blob = int(text.offsets[0]), text.blob
    runs = np.empty((len(blob) // MIN_RUN, 2), np.int64)
    count = _runs(text.data, text.offsets, _KEY_BYTES, _PAIR_ROWS, _THIRD, runs)
    for start, end in (runs[:count] - first).tolist():
        match = _KEY.match(blob, start, end)
        if match is None and blob[start : start + 2] == b"AA":
            before = max(_document_begin(text, start), start - 12)
            match = _TELEGRAM.search(blob, before, end)
            if match is not None and blob[before : match.start()][-1:].isalnum():
                match = None
        if match is not None:
            yield "api_keys", match.start() + first, match.end() + first
    for literal, expression in _NAMED:
        position = blob.find(literal)
        while position >= 0:
            after = position + len(literal)
            match = expression.match(blob, after, _document_end(text, position))
            if match is not None:
                yield "api_keys", match.start(1) + first, match.end(1) + first
            position = blob.find(literal, after)


def private_key_spans(text: Text) -> Iterator[Found]:
    """Blocks of private keys from their BEGIN to their END line; cut-off ones as far as they go."""
    first, blob = int(text.offsets[0]), text.blob
    if blob.find(b"PRIVATE KEY") < 0:
        return
    done = 0
    ends = [(match.start(), match.end()) for match in _END.finditer(blob)]
    at = 0
    for match in _BEGIN.finditer(blob):
        if match.start() < done or match.end() > _document_end(text, match.start()):
            continue
        while at < len(ends) and ends[at][0] < match.end():
            at += 1
        limit = min(_document_end(text, match.start()), match.end() + MAX_PRIVATE_KEY)
        if at < len(ends) and ends[at][1] <= limit:
            done = ends[at][1]
        else:
            lines = _KEY_LINES.match(blob, match.end(), limit)
            done = lines.end() if lines is not None else match.end()
        yield "private_keys", match.start() + first, done + first


def _document_begin(text: Text, position: int) -> int:
    """Where the document that holds byte `position` of the blob begins in the blob."""
    first = text.offsets[0]
    owner = np.searchsorted(text.offsets, position + first, side="right") - 1
    return int(text.offsets[owner] - first)


def _document_end(text: Text, position: int) -> int:
    """Where the document that holds byte `position` of the blob ends in the blob."""
    first = text.offsets[0]
    owner = np.searchsorted(text.offsets, position + first, side="right")
    return int(text.offsets[owner] - first)


def _table(characters: bytes) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(characters)] = True
    return table


_KEY_BYTES = _table(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")
_PAIRS = sorted({prefix[:2] for prefix in _PREFIXES})
_PAIR_ROWS = np.zeros(65536, np.uint8)  # of two bytes: 0, or 1 + their row in _THIRD
_THIRD = np.zeros((len(_PAIRS) + 1, 256), np.bool_)
for _prefix in _PREFIXES:
    _row = 1 + _PAIRS.index(_prefix[:2])
    _PAIR_ROWS[_prefix[0] << 8 | _prefix[1]] = _row
    _THIRD[_row, _prefix[2]] = True


@leaf
def _runs(
    data: npt.NDArray[np.uint8],
    offsets: I64,
    is_key: npt.NDArray[np.bool_],
    pair_rows: npt.NDArray[np.uint8],
    third: npt.NDArray[np.bool_],
    found: npt.NDArray[np.int64],
) -> int:
    """Fill `found` with (start, end) of what begins like a key inside runs of key bytes; how many.

    A key begins at a run's start or behind a dot, a hyphen or an underscore: `token.ghp_...`.
    """
    count = 0
    for i in range(len(offsets) - 1):
        position, stop = offsets[i], offsets[i + 1]
        # Look at every MIN_RUN-th byte only: no run passes between two looks.
        look = position + MIN_RUN - 1
        while look < stop:
            if not is_key[data[look]]:
                look += MIN_RUN
                continue
            start = look
            while start > position and is_key[data[start - 1]]:
                start -= 1
            end = look + 1
            while end < stop and is_key[data[end]]:
                end += 1
            at = start
            while end - at >= MIN_RUN:
                row = pair_rows[np.int64(data[at]) << 8 | np.int64(data[at + 1])]
                if row and third[row, data[at + 2]]:
                    found[count, 0], found[count, 1] = at, end
                    count += 1
                    at += MIN_RUN - 1
                while at < end and data[at] != _DOT and data[at] != _DASH and data[at] != _LOW:
                    at += 1
                at += 1
            position = end
            look = end + MIN_RUN - 1
    return count
