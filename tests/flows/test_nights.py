"""Three nights: only what is new is built, the champion learns on, and a kill changes nothing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.continue_training import Night, run_night
from flows.display import Display
from flows.nights import Nights
from flows.run import Call
from pipeline.artifacts import Checkpoint, CleanedCorpus, seek_artifact
from pipeline.config import validate
from pipeline.store.errors import ConfigError
from pipeline.tracking.champions import champion_checkpoint, shards_seen
from pipeline.tracking.promotion import promote
from tests.flows.killing import identities, night_in_child
from tests.flows.nights_world import TONIGHT, put, settings_of

pytestmark = pytest.mark.slow


def tonight(settings: dict) -> Night:
    config = validate(settings, where="test")
    found = run_night(config, Call(Display(quiet=True)), orchestrated=False)
    assert found is not None
    return found


def parts(root: Path, stage: str) -> set[str]:
    return {path.name for path in (root / "parts" / stage).iterdir()}


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """Three nights, the second of which dies with -9 in its training."""
    folder = tmp_path_factory.mktemp("nights")
    root, incoming = folder / "root", folder / "incoming"
    settings = settings_of(root, incoming)
    world = {"folder": folder, "root": root, "incoming": incoming, "settings": settings}
    put(incoming, TONIGHT[1])
    world["first"] = tonight(settings)
    world["read before"], world["clean before"] = parts(root, "read"), parts(root, "clean")
    put(incoming, TONIGHT[2], folder="second")
    shutil.copytree(root, folder / "undisturbed")
    shutil.copytree(incoming, folder / "calm")
    world["killed"] = [
        night_in_child(settings, kill_in=stage, at_call=2) for stage in ("clean", "pretrain")
    ]
    world["second"] = tonight(settings)
    world["read after"], world["clean after"] = parts(root, "read"), parts(root, "clean")
    put(incoming, TONIGHT[3])
    world["third"] = tonight(settings)
    if not world["third"].facts["promoted"]:
        # So little text decides by chance whether the gap is beyond chance; what follows needs
        # a champion that knows all of it, and a user may decide so.
        assert world["third"].version is not None
        promote(root, "small-base", world["third"].version.version)
    yield world


def test_first_night_makes_the_first_champion(three_nights):
    first = three_nights["first"]
    assert first.trained and first.facts["promoted"] and first.facts["champion_before"] is None


def test_second_night_was_killed_and_went_on(three_nights):
    assert three_nights["killed"] == [-9, -9]
    second = three_nights["second"]
    assert second.trained
    assert second.facts["champion_before"] == three_nights["first"].facts["checkpoint"]


def test_second_night_builds_only_the_parts_of_the_new_files(three_nights):
    assert three_nights["read before"] < three_nights["read after"]
    assert len(three_nights["read after"] - three_nights["read before"]) == 1
    assert len(three_nights["clean after"] - three_nights["clean before"]) == 1
    corpus = three_nights["second"].made["corpus"]
    assert corpus.facts["by_source"].keys() == {"incoming"}
    assert three_nights["second"].facts["new_files"] == len(TONIGHT[2])


def test_killed_night_ends_as_an_undisturbed_one(three_nights):
    settings = {**three_nights["settings"], "root": str(three_nights["folder"] / "undisturbed")}
    settings["clean"] = json.loads(json.dumps(settings["clean"]))
    settings["clean"]["sources"][-1]["paths"] = [str(three_nights["folder"] / "calm")]
    assert tonight(settings).facts["checkpoint"] == three_nights["second"].facts["checkpoint"]
    there = identities(three_nights["root"])
    for reference, content in identities(three_nights["folder"] / "undisturbed").items():
        assert there[reference] == content


def test_champion_learns_from_new_text_with_the_share_of_old_text(three_nights):
    shards = three_nights["third"].made["shards"]
    assert shards.facts["replayed_share"] == pytest.approx(0.25, abs=0.08)
    # Of the old documents each night's are among those to be drawn from.
    old = [ref for ref in shards.manifest.inputs if ref.startswith("tokenize@")]
    assert len(old) == 3


def test_nights_make_the_model_better_and_the_gate_says_so(three_nights):
    bits = [three_nights[night].facts["bits_per_byte"] for night in ("first", "second", "third")]
    assert bits[2] < bits[0]
    for night in ("second", "third"):
        facts = three_nights[night].facts
        assert facts["promoted"] == facts["verdict"].startswith("promoted: better")


def test_learning_rate_is_rewarmed_every_night(three_nights):
    base = three_nights["second"].made["base"]
    assert base.manifest.config["start"] == {"kind": "checkpoint"}
    assert base.manifest.config["schedule"]["warmup_fraction"] == 0.1
    rates = [
        row["learning_rate"]
        for line in (base.path / "curve.jsonl").read_text().splitlines()
        if "learning_rate" in (row := json.loads(line))
    ]
    assert max(rates) == pytest.approx(first_nights_rate(three_nights["settings"]))
    assert rates[-1] < max(rates) / 10


def first_nights_rate(settings: dict) -> float:
    config = validate(settings, where="test")
    factor = config.continuation.learning_rate_factor
    return config.pretrain.optimizer.learning_rate * factor


def test_champion_has_seen_every_nights_text_in_the_end(three_nights):
    champion = champion_checkpoint(three_nights["root"], "small-base")
    assert isinstance(champion, Checkpoint)
    links = Nights(three_nights["root"], "small").links()
    assert shards_seen(champion) == {link.shards.ref for link in links if link.shards is not None}


def test_night_with_nothing_new_does_nothing_and_says_so(three_nights):
    before = identities(three_nights["root"])
    quiet = tonight(three_nights["settings"])
    assert not quiet.trained
    assert quiet.sentence == "nothing new: no new files; no training tonight"
    assert identities(three_nights["root"]) == before


def test_copies_under_new_names_are_no_new_files(three_nights):
    incoming = three_nights["incoming"]
    shutil.copy(incoming / "json.txt", incoming / "renamed.txt")
    quiet = tonight(three_nights["settings"])
    assert (quiet.trained, quiet.facts["new_files"]) == (False, 0)
    # A byte more makes another file; its text is known all the same.
    (incoming / "renamed.txt").write_text((incoming / "json.txt").read_text() + "\n")
    quiet = tonight(three_nights["settings"])
    assert (quiet.facts["new_files"], quiet.facts["new_documents"]) == (1, 0)
    assert not quiet.trained
    link = Nights(three_nights["root"], "small").links()[-1]
    assert link.shards is None and isinstance(link.corpus, CleanedCorpus)


def test_too_little_new_text_waits_for_the_next_night(three_nights):
    incoming, settings = three_nights["incoming"], three_nights["settings"]
    (incoming / "short.txt").write_text("A few lines about nothing that was said before.\n" * 3)
    night = tonight(settings)
    assert not night.trained and "too little new text" in night.sentence


def test_refused_candidate_is_not_trained_again_on_the_same_text(three_nights):
    folder = three_nights["folder"] / "refused"
    shutil.copytree(three_nights["root"], folder / "root")
    shutil.copytree(three_nights["incoming"], folder / "incoming")
    settings = {**three_nights["settings"], "root": str(folder / "root")}
    settings["clean"] = json.loads(json.dumps(settings["clean"]))
    settings["clean"]["sources"][-1]["paths"] = [str(folder / "incoming")]
    # Ten times the rate undoes what the champion has learnt.
    settings["continuation"] = {**settings["continuation"], "learning_rate_factor": 10.0}
    put(folder / "incoming", ("pathlib", "subprocess"), folder="fourth")
    night = tonight(settings)
    assert night.trained and not night.facts["promoted"], night.sentence
    again = tonight(settings)
    assert not again.trained
    assert again.sentence.startswith("nothing new since the candidate of ")
    assert "not promoted: " in again.sentence


def test_deleted_mlflow_database_changes_no_night(three_nights):
    (three_nights["root"] / "mlflow.db").unlink()
    champion = champion_checkpoint(three_nights["root"], "small-base")
    assert champion is not None and seek_artifact(three_nights["root"], champion.ref) is not None
    assert not tonight(three_nights["settings"]).trained


def test_changed_tokenizer_settings_are_refused_before_training(three_nights):
    settings = {**three_nights["settings"], "tokenizer": {"kind": "trained", "vocab_size": 512}}
    with pytest.raises(ConfigError, match="undo the change of `tokenizer`"):
        tonight(settings)


def test_lost_corpus_of_a_night_makes_its_files_new_again(three_nights):
    root = three_nights["folder"] / "with a loss"
    shutil.copytree(three_nights["root"], root)
    nights = Nights(root, "small")
    link = [link for link in nights.links() if link.shards is not None][-1]
    known = nights.contents()
    shutil.rmtree(link.corpus.path)
    assert nights.lost() == (link.shards.ref,)
    assert len(nights.links()) == len(Nights(three_nights["root"], "small").links()) - 1
    assert len(known - nights.contents()) == link.files
