"""TRL's SFTTrainer on prepared ids: runs in the peer's environment, prints one JSON line.

    python peer_sft.py JOB.json
JOB: {model, data, output, rows, micro_batches, context, steps, learning_rate, mode, dtype, threads,
seed}; mode is packed, padding_free, padded or grouped (padded, batches of similar lengths).
data is JSONL of {"input_ids", "completion_mask"}; only the library's public interface is used.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl


class Clock(transformers.TrainerCallback):
    """Seconds from the start of the first step to the end of the last."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Note the first step's start."""
        self.started = self.started or time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Note the newest step's end."""
        self.ended = time.perf_counter()


def main() -> None:
    """Train and report."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    transformers.set_seed(job["seed"])
    model = transformers.AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    rows = [json.loads(line) for line in Path(job["data"]).read_text(encoding="utf-8").splitlines()]
    mode = job["mode"]
    config = trl.SFTConfig(
        output_dir=job["output"],
        per_device_train_batch_size=job["rows"],
        gradient_accumulation_steps=job["micro_batches"],
        max_steps=job["steps"],
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        # Padding-free refuses a limit it would not enforce; the data keep to it anyway.
        max_length=None if mode == "padding_free" else job["context"],
        packing=mode == "packed",
        padding_free=mode == "padding_free",
        train_sampling_strategy="group_by_length" if mode == "grouped" else "random",
        completion_only_loss=True,  # left unset, a mask of the data is ignored: all is trained
        gradient_checkpointing=False,
        bf16=job["dtype"] == "bfloat16",
        use_cpu=True,
        logging_steps=10_000,
        save_strategy="no",
        report_to=[],
        dataloader_num_workers=0,
        disable_tqdm=True,
        seed=job["seed"],
    )
    clock = Clock()
    counted = {"trained": 0, "positions": 0, "real": 0}
    trainer = trl.SFTTrainer(
        model=model,
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    step = trainer.training_step

    def counting(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        labels = inputs["labels"]
        counted["trained"] += int((labels[:, 1:] != -100).sum())
        counted["positions"] += labels.numel()
        mask = inputs.get("attention_mask")
        counted["real"] += int(mask.sum()) if mask is not None else labels.numel()
        return step(model, inputs, *args, **kwargs)

    trainer.training_step = counting  # type: ignore[method-assign]
    trainer.train()
    model.save_pretrained(job["output"])
    seconds = clock.ended - clock.started
    versions = {"trl": trl.__version__, "transformers": transformers.__version__,
                "torch": torch.__version__.split("+")[0]}  # fmt: skip
    print(json.dumps({"seconds": seconds, **counted, "versions": versions}))


if __name__ == "__main__":
    main()
