"""Credentials are refused in settings and cut out of whatever quotes them."""

import pytest

from pipeline.config import validate
from pipeline.store.errors import ConfigError
from pipeline.store.secrets import holds_credentials, keys_with_credentials, redacted
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
    "--uri=http://me:canary@h/ and https://h/x?api_key=canary",
]
FREE = [
    "https://host.example/a@b/c?page=2",
    "postgresql://mill@db.example/mlflow",
    "sftp://me@host/a",
    "s3://bucket/a:b@c.jsonl",
    "a@b.example: call https://x.example",
    "design?signature",
    "sqlite:////home/me/mlflow.db",
]


@pytest.mark.parametrize("text", HELD)
def test_credentials_are_found_and_cut(text: str) -> None:
    assert holds_credentials(text)
    assert "canary" not in redacted(text)


@pytest.mark.parametrize("text", FREE)
def test_text_without_credentials_is_left_alone(text: str) -> None:
    assert not holds_credentials(text)


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
