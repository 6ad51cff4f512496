"""Fine-tune a checkpoint with its visual tokens reduced while it learns: `python -m duet_core train finetune`.

Several processes share each batch (`--batch` counts the samples of all of them) and learn what one alone would:
`accelerate launch --multi_gpu --num_processes 2 -m duet_core train finetune ...`, on CPUs with ACCELERATE_USE_CPU=true
in the environment (accelerate's `--cpu` starts one process). FSDP is a matter of accelerate's configuration:
fsdp_version 2, with fsdp_auto_wrap_policy NO_WRAP or TRANSFORMER_BASED_WRAP of the decoder's layers alone. FSDP 1 is
not supported, since stage 2 reads a layer's weights before that layer runs; nor is fsdp_activation_checkpointing,
which hides the layers: take `--recompute`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import torch
from accelerate import Accelerator
from transformers import AutoConfig

from duet_core.backbones.base import Pixels
from duet_core.checkpoint import locate
from duet_core.engine import Model, open_model
from duet_core.errors import ModelError
from duet_core.methods import METHODS
from duet_core.plan import Plan, Stages
from duet_core.train.batches import Batch, Budgets, Feed, Share, make_batch, plan_for, plans_for
from duet_core.train.conversations import Conversation, Example, read_conversations
from duet_core.train.loop import Phase, Trainer
from duet_core.train.reduced import ReducedLesson
from duet_core.train.weights import keep_checkpoints_small, recompute_layers, save, train_adapters, train_all, trained

_WARM_UP = 0.03  # of all steps
_SETTLED = ("model", "data", "method", "budget", "stages", "batch", "lr", "lora", "train_tower", "longest", "seed")
_BETAS = (0.9, 0.98)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("duet_core train finetune", description=__doc__)
    add = parser.add_argument
    add("--model", default="duet-mini", help="bundled name, folder or hub repository")
    add("--data", type=Path, required=True, help="conversations as LLaVA's JSON")
    add("--images", type=Path, required=True, help="folder of their pictures")
    add(
        "--check", type=Path, help="conversations (same folder of pictures) whose loss is logged, but never learnt from"
    )
    add("--out", type=Path, required=True, help="folder of the fine-tuned model, or of its adapters")
    add("--runs", type=Path, help="log and checkpoint, to go on where a run stopped (default: OUT-run)")
    add("--method", choices=METHODS, default="duet")
    add(
        "--budget",
        type=Budgets.parse,
        default=Budgets(192, 192),
        help="tokens per layer: 192, or 64-300 to vary; where pictures differ, one that has fewer keeps them all",
    )
    add("--stages", choices=get_args(Stages), default="both", help="both, or one stage of the method alone")
    add("--steps", type=int, help="default: every conversation once")
    add("--batch", type=int, default=16, help="samples per step, of all processes together")
    add("--lr", type=float, help="at its height (default: 2e-5, for adapters 2e-4)")
    add("--lora", type=int, metavar="RANK", help="train adapters of this rank instead of all weights")
    add("--train-tower", action="store_true", help="train the vision encoder too")
    add("--recompute", action="store_true", help="less memory for more time: keep no activations inside layers")
    add("--precision", choices=("no", "bf16", "fp16"), help="of the arithmetic (default: as accelerate is configured)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights; adapters stay float32")
    add("--longest", type=int, help="tokens of a conversation that are used (default: as many as the model takes)")
    add("--check-every", type=int, default=0, metavar="STEPS", help="write a checkpoint and --check so often")
    add("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.runs = options.runs or options.out.with_name(f"{options.out.name}-run")
    options.lr = options.lr or (2e-4 if options.lora else 2e-5)
    if options.batch < 1 or (options.steps is not None and options.steps < 1):
        parser.error("--batch and --steps must be at least 1")
    if options.lora and options.train_tower:
        parser.error("--lora trains adapters alone; leave out --train-tower")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune, or go on where a run stopped, and write the model."""
    options = _parse(argv)
    torch.manual_seed(options.seed)
    conversations = read_conversations(options.data, options.images)
    held_out = read_conversations(options.check, options.images) if options.check else []
    accelerator = Accelerator(mixed_precision=options.precision)
    _settle(accelerator, options)
    model = open_model(options.model, device="cpu", dtype=options.dtype)
    steps = options.steps or math.ceil(len(conversations) / options.batch)
    trainer = _trainer(accelerator, model, options, steps)
    share = Share(accelerator.process_index, accelerator.num_processes)
    feed = Feed(model, conversations, options.batch, options.seed, share, _longest(model, options))
    phase = Phase("finetune", steps, options.batch, options.lr, 0.0)
    check = _checks(trainer, model, held_out, options) if held_out else None
    trainer.train([phase], _batches(accelerator, model, feed, options), check, options.check_every)
    own = AutoConfig.from_pretrained(locate(options.model)).dtype or torch.float32
    save(accelerator, trainer.module, model, options.out, own)
    accelerator.end_training()
    return 0


def _settle(accelerator: Accelerator, options: argparse.Namespace) -> None:
    """Note what a run does, or raise a ModelError where it has begun as another one."""
    place = options.runs / "settings.json"
    now = {name: str(getattr(options, name)) for name in _SETTLED}
    before = json.loads(place.read_text()) if place.is_file() else now
    for name in _SETTLED:
        if before[name] != now[name]:
            raise ModelError(
                f"The run in {options.runs} began with --{name.replace('_', '-')} {before[name]}, not {now[name]};"
                " give the same, or another folder as --runs."
            )
    accelerator.wait_for_everyone()  # all have read
    if accelerator.is_main_process:
        options.runs.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(now, indent=1) + "\n")


def _trainer(accelerator: Accelerator, model: Model, options: argparse.Namespace, steps: int) -> Trainer:
    """Choose what learns, and hand lesson and optimiser to accelerate."""
    if options.lora:
        train_adapters(model.backbone, options.lora, locate(options.model))
    else:
        train_all(model.backbone, options.train_tower)
    if options.recompute:
        recompute_layers(model.backbone)
    lesson = ReducedLesson(model.backbone).train()
    optimiser = torch.optim.AdamW(trained(lesson), betas=_BETAS, weight_decay=0.0)
    keep_checkpoints_small(accelerator)
    warm_up = max(1, round(_WARM_UP * steps))
    return Trainer.prepare(accelerator, lesson, [(optimiser, 1.0)], options.runs, warm_up)


Given = tuple[Sequence[Pixels], Sequence[Example], Sequence[Plan], float]


def _batches(
    accelerator: Accelerator, model: Model, feed: Feed, options: argparse.Namespace
) -> Callable[[Phase, int], Given]:
    if model.backbone.one_size:
        for budget in (options.budget.low, options.budget.high):  # what cannot be drawn is refused now
            plan_for(options.method, budget, options.stages, model.size)

    def batch_of(_phase: Phase, step: int) -> Given:
        batch = feed(step)
        # Gradients are averaged over processes: with this count that is the mean over all labels of the batch.
        count = accelerator.reduce(torch.tensor(float(batch.targets), device=accelerator.device), "mean")
        budget = options.budget.draw(options.seed, step)
        return batch.pixels, batch.examples, _plans(options, budget, batch), float(count)

    return batch_of


def _plans(options: argparse.Namespace, budget: float, batch: Batch) -> list[Plan]:
    return plans_for(options.method, budget, options.stages, batch.sizes)


def _checks(
    trainer: Trainer, model: Model, held_out: Sequence[Conversation], options: argparse.Namespace
) -> Callable[[], dict[str, float]]:
    """Every process checks all of it, so that each runs as many forward passes as FSDP wants of it."""

    @torch.no_grad()
    def check() -> dict[str, float]:
        sums, count = {"all_tokens": 0.0, "reduced": 0.0}, 0
        for first in range(0, len(held_out), options.batch):
            batch = make_batch(model, held_out[first : first + options.batch], _longest(model, options))
            count += batch.targets
            whole, reduced = [Plan(method="none")] * len(batch.sizes), _plans(options, options.budget.low, batch)
            for name, plans in zip(sums, (whole, reduced), strict=True):
                sums[name] += float(trainer.module(batch.pixels, batch.examples, plans, 1.0)[0])
        return {name: total / count for name, total in sums.items()}

    return check


def _longest(model: Model, options: argparse.Namespace) -> int:
    return options.longest or model.backbone.model.config.text_config.max_position_embeddings


if __name__ == "__main__":
    raise SystemExit(main())
