"""A server that follows an alias: promotions under load, broken champions, a dead registry."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file, save_file

from pipeline.serving.chat import Request, complete
from pipeline.serving.engine import Serving
from pipeline.serving.following import RETRY_SECONDS, Follower
from pipeline.serving.loading import LoadedModel, load_model
from pipeline.serving.server import create_app
from pipeline.store.errors import ArtifactError
from pipeline.tracking.aliases import AliasReader, is_alias
from pipeline.tracking.registry import opened
from tests.registry.worlds import World
from tests.serving.servers import running

REFERENCE = "models:/followed@champion"
BODY = {"prompt": "Return the", "max_tokens": 24, "temperature": 1.5, "seed": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two registered versions, the first of them the champion."""
    world = World(tmp_path_factory.mktemp("followed"))
    for seed in (1, 2):
        checkpoint = world.base(seed=seed)
        exported = world.exported(checkpoint, world.report(checkpoint, world.eval_set(), bits=1.5))
        with opened(world.root) as registry:
            registry.log("followed", exported, tags={})
    crown(world, 1)
    return world


def crown(world: World, number: int) -> None:
    with opened(world.root) as registry:
        registry.crown(registry.get("followed", number))


def model(world: World, number: int) -> LoadedModel:
    return load_model(f"models:/followed/{number}", world.root)


def expected(world: World, number: int) -> str:
    settings = {"max_tokens": 24, "temperature": 1.5, "seed": 3}
    return complete(model(world, number), Request(prompt="Return the", **settings)).text


@pytest.fixture
def serving(world: World) -> Serving:
    crown(world, 1)
    return Serving(model(world, 1), REFERENCE, 1)


def follower(
    world: World, serving: Serving, said: list[str], clock: Callable[[], float] = lambda: 0.0
) -> Follower:
    return Follower(
        serving, AliasReader(REFERENCE, world.root).version,
        lambda version: load_model(version.uri, world.root), say=said.append, clock=clock,
    )  # fmt: skip


def test_promotion_under_load_drops_no_request(world: World, serving: Serving) -> None:
    texts = {number: expected(world, number) for number in (1, 2)}
    assert texts[1] != texts[2], "the two versions must be told apart by what they say"
    found: list[tuple[int, str, str]] = []
    stop = threading.Event()
    follows = follower(world, serving, [])

    def ask(client: httpx.Client) -> None:
        while not stop.is_set():
            answer = client.post("/v1/completions", json=BODY)
            document = answer.json()
            found.append(
                (answer.status_code, document["system_fingerprint"], document["choices"][0]["text"])
            )

    with running(create_app(serving)) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        with client.stream("POST", "/v1/completions", json={**BODY, "stream": True}) as begun:
            lines = begun.iter_lines()
            first = next(lines)  # version 1 has begun to answer
            for thread in threads:
                thread.start()
            crown(world, 2)
            assert follows.look()
            after = client.post("/v1/completions", json=BODY).json()
            rest = [line for line in (first, *lines) if line.startswith("data: {")]
        stop.set()
        for thread in threads:
            thread.join()
    assert after["choices"][0]["text"] == texts[2]
    assert "".join(json.loads(line[6:])["choices"][0]["text"] for line in rest) == texts[1]
    assert {status for status, _, _ in found} == {200}
    for _, source, text in found:
        assert text == texts[int(source.rsplit(" ", 1)[1])], "an answer mixed two versions"


def test_twenty_streams_end_with_the_version_they_began_with(
    world: World, serving: Serving
) -> None:
    texts = {number: expected(world, number) for number in (1, 2)}
    begun, ended = threading.Barrier(21), list[tuple[str, str, str]]()
    swapped = threading.Event()
    follows = follower(world, serving, [])

    def ask(client: httpx.Client) -> None:
        with client.stream("POST", "/v1/completions", json={**BODY, "stream": True}) as answer:
            lines = answer.iter_lines()
            found = [next(lines)]
            begun.wait(60)
            swapped.wait(60)
            found += [line for line in lines if line]
        chunks = [json.loads(line[6:]) for line in found if line.startswith("data: {")]
        text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
        ended.append((found[-1], chunks[-1]["system_fingerprint"], text))

    with running(create_app(serving)) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        begun.wait(60)
        crown(world, 2)
        assert follows.look()
        swapped.set()
        for thread in threads:
            thread.join(60)
        after = client.post("/v1/completions", json=BODY).json()
    assert ended == [("data: [DONE]", "followed version 1", texts[1])] * 20
    assert after["choices"][0]["text"] == texts[2]


def test_model_is_asked_by_its_registered_name_or_reference(world: World, serving: Serving) -> None:
    with running(create_app(serving)) as client:
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["followed"]
        for name, status in (("followed", 200), (REFERENCE, 200), ("other", 404)):
            answer = client.post("/v1/completions", json={**BODY, "model": name})
            assert answer.status_code == status


def test_nothing_is_loaded_while_the_champion_stays(world: World, serving: Serving) -> None:
    before = serving.current
    assert not follower(world, serving, []).look()
    assert serving.current is before


@pytest.fixture
def spoilt(world: World) -> Iterator[Path]:
    """Version 2 with altered weights; whole again afterwards."""
    weights = _weights(world)
    kept = weights.read_bytes()
    tensors = load_file(weights)
    save_file({k: t + 1 if i == 0 else t for i, (k, t) in enumerate(tensors.items())}, weights)
    yield weights
    weights.write_bytes(kept)


def _weights(world: World) -> Path:
    checkpoint = world.base(seed=2)
    report = world.report(checkpoint, world.eval_set(), bits=1.5)
    return world.exported(checkpoint, report).hf_path / "model.safetensors"


def test_altered_champion_is_refused_the_old_one_answers_and_it_is_tried_again(
    world: World, serving: Serving, spoilt: Path
) -> None:
    said: list[str] = []
    now = [0.0]
    follows = follower(world, serving, said, lambda: now[0])
    intact = spoilt.read_bytes()
    crown(world, 2)
    assert not follows.look()
    assert serving.version == 1
    assert serving.problem is not None and "version 2 cannot be loaded" in serving.problem
    follows.look()
    assert len(said) == 1, "the same problem is told once"
    with running(create_app(serving)) as client:
        assert client.post("/v1/completions", json=BODY).status_code == 200
        health = client.get("/health").json()
    assert health["version"] == 1 and "cannot be loaded" in health["problem"]
    assert intact == spoilt.read_bytes()


def test_mended_champion_answers_after_a_while(world: World, serving: Serving) -> None:
    weights = _weights(world)
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-7])
    now = [0.0]
    follows = follower(world, serving, [], lambda: now[0])
    crown(world, 2)
    assert not follows.look()
    weights.write_bytes(kept)
    assert not follows.look(), "not before the time for another try"
    now[0] = RETRY_SECONDS
    assert follows.look()
    assert (serving.version, serving.problem) == (2, None)


def test_model_that_gives_no_numbers_is_refused(world: World, serving: Serving) -> None:
    broken = model(world, 2)
    next(broken.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ArtifactError, match="not finite"):
        serving.swap(broken, 2)
    assert serving.version == 1


def test_registry_that_cannot_be_asked_or_lost_the_alias_changes_nothing(
    world: World, serving: Serving
) -> None:
    said: list[str] = []
    faults: list[Exception | None] = [OSError("gone"), None]

    def read() -> None:
        fault = faults.pop(0)
        if fault is not None:
            raise fault

    follows = Follower(serving, read, lambda version: model(world, version.number), say=said.append)
    assert not follows.look() and not follows.look()
    assert "cannot be asked: gone" in said[0] and "points to nothing" in said[1]
    assert serving.version == 1


@pytest.mark.parametrize(
    ("reference", "follows"),
    [(REFERENCE, True), ("models:/followed/1", False), ("finetune@1234", False)],
)
def test_only_an_alias_is_followed(reference: str, follows: bool) -> None:
    assert is_alias(reference) == follows
