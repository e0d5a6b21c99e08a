"""`mill evaluate` as a person uses it, on exported directories and on bad input."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from flows.cli import main
from pipeline.evals.document_scores import read_scores

TEXTS = ["a", "Return the path.", "lonely words " * 120, "def read(path): return path"]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def evaluate(*arguments, root):
    main(["evaluate", *map(str, arguments), "--draws", "100", "--root", str(root)])


def evaluated(*arguments, root):
    with pytest.raises(SystemExit) as end:
        evaluate(*arguments, root=root)
    return end.value.code or 0


def test_two_models_are_measured_side_by_side(
    served, base_export, tuned_export, data, tmp_path, capsys
):
    (tmp_path / "tasks.jsonl").write_text(
        '{"question": "Return the", "choices": ["path", "moon"], "answer": 0}\n'
        '{"question": "def", "choices": ["read", "moon"], "answer": 0}\n'
    )
    (tmp_path / "pairs.jsonl").write_text(
        '{"groups": ["f", "m"], "sentences": ["she reads", "he reads"]}\n'
    )
    out = tmp_path / "out"
    code = evaluated(
        base_export / "hf", data, "--against", tuned_export / "hf", "--tasks",
        tmp_path / "tasks.jsonl", "--pairs", tmp_path / "pairs.jsonl", "--shots", "0,1",
        "--training", data, "--out", out, root=served.root,
    )  # fmt: skip
    printed = capsys.readouterr()
    assert code == 0, printed.err
    content = json.loads((out / "evaluation.json").read_text())
    one, other = content["models"]
    rows = one["perplexity"]["per_source"]["data.jsonl"], one["perplexity"]
    assert rows[0]["nats"] == pytest.approx(rows[1]["nats"])
    assert rows[1]["documents"] == 4 and rows[1]["bytes"] == sum(map(len, TEXTS))
    difference = content["comparison"]["bits_per_byte"]
    expected = one["perplexity"]["bits_per_byte"] - other["perplexity"]["bits_per_byte"]
    assert difference["delta"] == pytest.approx(expected)
    assert one["contamination"]["dirty"]["documents"] == 1  # 13 words or more, all in training
    assert {row["shots"] for row in one["tasks"]["rows"]} == {0, 1}
    assert other["bias"]["rows"][0]["pairs"] == 1
    page = (out / "evaluation.html").read_text()
    for part in ("window", "stride", "bos before every document", "Calibration", "Memorisation"):
        assert part.lower() in page.lower()
    assert page.count("data:image/png") >= 4 and "<script" not in page
    words = " ".join(printed.out.split())
    assert "bits/byte" in words and "stride" in words and "mean of sources (macro)" in words
    nats = read_scores(out / "documents.arrow")["nats"].to_pylist()
    assert sum(nats) == pytest.approx(one["perplexity"]["nats"])


def test_a_checkpoint_and_a_frozen_set_are_known_by_name(served, tmp_path, capsys):
    base, eval_set = served.base(), served.eval_set()
    out = tmp_path / "out"
    assert evaluated(base.ref, eval_set.name, "--out", out, root=served.root) in (0, 3), (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [("", 3, "holds no usable document"), ('{"text": ""}\n', 3, "no")],
)
def test_an_empty_set_is_refused(served, base_export, tmp_path, capsys, content, code, message):
    (tmp_path / "d.jsonl").write_text(content)
    found = evaluated(
        base_export / "hf", tmp_path / "d.jsonl", "--out", tmp_path / "out", root=served.root
    )
    assert found == code and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_one_token_document_has_figures(served, base_export, tmp_path, capsys):
    (tmp_path / "d.txt").write_text("a")
    out = tmp_path / "out"
    assert evaluated(base_export / "hf", tmp_path / "d.txt", "--out", out, root=served.root) == 0
    (model,) = json.loads((out / "evaluation.json").read_text())["models"]
    assert model["perplexity"]["tokens"] == 1 and "no memorisation" in capsys.readouterr().out


def test_weights_that_give_nan_are_refused(served, base_export, data, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(base_export / "hf", broken)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if "norm" in name or "ln_f" in name)
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    code = evaluated(broken, data, "--out", tmp_path / "out", root=served.root)
    assert code == 5 and "the weights are damaged" in capsys.readouterr().err


def test_a_tokenizer_of_another_model_is_refused(served, base_export, data, tmp_path, capsys):
    wrong = tmp_path / "wrong"
    shutil.copytree(base_export / "hf", wrong)
    path = wrong / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["added_tokens"].append(
        {"id": 99_999, "content": "<|far|>", "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True}
    )  # fmt: skip
    tokenizer["model"]["vocab"]["<|far|>"] = 99_999
    path.write_text(json.dumps(tokenizer))
    code = evaluated(wrong, data, "--out", tmp_path / "out", root=served.root)
    assert code == 4 and "do not belong together" in capsys.readouterr().err


def test_what_is_misspelt_is_named(served, base_export, data, tmp_path, capsys):
    assert evaluated(base_export / "hf", "nothing", root=served.root) == 2
    assert "no file, folder or glob" in capsys.readouterr().err
    assert evaluated(base_export / "hf", data, "--shots", "many", root=served.root) == 2
    assert evaluated(base_export / "hf", data, "--stride", 10**6, root=served.root) == 2
    assert "lower it" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert evaluated(base_export / "hf", data, "--out", tmp_path / "file", root=served.root) == 2
