"""Credentials are refused in settings and cut out of whatever quotes them."""

import re

import pytest

from pipeline.config import validate
from pipeline.store.errors import ConfigError
from pipeline.store.secrets import (
    REMOVED,
    SECRET_PATTERN,
    holds_credentials,
    keys_with_credentials,
    redacted,
    without_credentials,
)
from pipeline.tracking.config import TrackingConfig

HELD = [
    "http://me:canary@mlflow.example:5000",
    "https://canary@host.example/x.jsonl",
    "postgresql://mill:canary@db.example/mlflow",
    "mssql+pyodbc://u:canary@h/d?driver=ODBC",
    "s3://key:canary@bucket/a",
    "sftp://me:canary@host/a",
    "https://b.s3.amazonaws.com/x.gz?X-Amz-Expires=9&X-Amz-Signature=canary&x=1",
    "https://c.blob.core.windows.net/x?sv=2&sig=canary",
    "https://h/x?access_token=canary",
    "hf_canarycanarycanarycanarycanary1234",
    "models/ghp_canary" + "a" * 34,
    "github_pat_canary" + "A1_" * 20,
    "AKIA" + "CANARY0123456789",
    "sk-proj-canary" + "x" * 40,
    "eyJhbGciOiJI.eyJzdWIicanary.sig",
    "--uri=http://me:canary@h/ and https://h/x?api_key=canary",
]
FREE = [
    "https://host.example/a@b/c?page=2",
    "postgresql://mill@db.example/mlflow",
    "sftp://me@host/a",
    "s3://bucket/a:b@c.jsonl",
    "a@b.example: call https://x.example",
    "design?signature",
    "task-of-the-day/risk-assessment-of-everything-and-more-than-that",
    "hf_datasets/my-corpus.jsonl",
    "s3://bucket/AKIAB/x",
    "sqlite:////home/me/mlflow.db",
]


@pytest.mark.parametrize("text", HELD)
def test_credentials_are_found_and_cut(text: str) -> None:
    assert holds_credentials(text)
    assert "canary" not in redacted(text).lower()


@pytest.mark.parametrize("text", FREE)
def test_text_without_credentials_is_left_alone(text: str) -> None:
    assert not holds_credentials(text)


@pytest.mark.parametrize("text", [t for t in HELD if t != "https://canary@host.example/x.jsonl"])
def test_pattern_for_schemas_finds_what_we_find_but_a_bare_user_name(text: str) -> None:
    assert re.search(SECRET_PATTERN, text)


@pytest.mark.parametrize("text", FREE)
def test_pattern_for_schemas_leaves_other_text_alone(text: str) -> None:
    assert not re.search(SECRET_PATTERN, text)


def test_what_is_removed_says_so_and_the_rest_stays() -> None:
    settings = {"a": [HELD[0], 1, None, "x"], "b": {"c": True}}
    assert without_credentials(settings) == {"a": [REMOVED, 1, None, "x"], "b": {"c": True}}


def test_every_place_in_settings_is_looked_at() -> None:
    settings = {"a": {"b": ["x", {"c": HELD[0]}]}, "d": HELD[1], "e": 3}
    assert list(keys_with_credentials(settings)) == ["a.b.1.c", "d"]


@pytest.mark.parametrize(
    "settings",
    [
        {"tracking": {"uri": HELD[2]}},
        {"clean": {"sources": [{"kind": "jsonl", "paths": [HELD[6]]}]}},
        {"no": {"such": {"section": HELD[0]}}},
    ],
)
def test_configuration_with_credentials_is_refused_without_repeating_them(settings: dict) -> None:
    with pytest.raises(ConfigError, match="holds credentials") as refused:
        validate(settings, where="test")
    assert "canary" not in str(refused.value) and "PASSWORD" in str(refused.value)


def test_tracking_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="holds credentials") as refused:
        TrackingConfig(uri=HELD[0])
    assert "canary" not in str(refused.value)
