"""
Trains a classifier on a CPU: the loop that the sentiment teacher and the students of distil.py share. It stops and resumes at any
step: the state is saved every few minutes and on SIGTERM or Ctrl-C, and the same command continues from it.

A batch has rows of like length in tokens: padding is most of the cost. Sorted by bytes, languages mix badly (38 places a row for 24
tokens); together with `without_dropout` a step of a 12-layer model took 2.2 times less. Rates rise for a tenth of the steps, at
most WARM_UP_STEPS, then fall to nothing, and are smaller from layer to layer towards the input. Word, position and segment
embeddings may stay as they are, so that words that training never sees keep their meaning. What comes out is the moving average of
the weights, which is steadier than the last step.
"""

import copy
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig

from model_folder import copy_tokenizer

Row = TypeVar("Row")

SAVE_EVERY_S = 240
PROGRESS_EVERY_STEPS = 50
WARM_UP_STEPS = 100
# Share of the top rate that is left at the end.
LEAST_RATE = 0.02
MAX_GRADIENT = 1.0
WEIGHT_DECAY = 0.01
# Batches that are sorted together: the more, the less padding, and the less random is who is in a batch with whom.
POOL_BATCHES = 40
EMBEDDINGS = r"word_embeddings|position_embeddings|token_type"
# Exit code of a run that was stopped and can be continued.
TEMPORARY = 75


@dataclass(frozen=True)
class Recipe:
    epochs: int
    # Of the head; each layer below has `decay` times that of the layer above it.
    rate: float
    decay: float = 0.9
    # Rows of a batch.
    size: int = 64
    seed: int = 1
    # Of the moving average, a step.
    average: float = 0.998
    # Parameters whose names match stay as they are; "" trains all.
    freeze: str = EMBEDDINGS
    # Only where the processor multiplies bfloat16 faster than float32: measure first.
    bf16: bool = False


@dataclass
class Progress:
    """Where a run is. `step` counts over all epochs, `batch` within one."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    cpu_s: float = 0.0
    loss: float | None = None


@dataclass(frozen=True)
class Trained:
    model: torch.nn.Module
    # Of each epoch.
    rows: list[int]
    progress: Progress

    def facts(self) -> dict:
        """For training.json."""
        return {"rows": self.rows, "steps": self.progress.step, "cpu_s": round(self.progress.cpu_s), "loss": self.progress.loss}


@dataclass(frozen=True)
class Task(Generic[Row]):
    """What is learnt: the rows of each epoch, by its number, in their order; how many tokens they have; the loss of a batch."""

    rows: Callable[[int], Sequence[Row]]
    lengths: Callable[[Sequence[Row]], list[int]]
    loss: Callable[[torch.nn.Module, list[Row]], torch.Tensor]


def without_dropout(base: str | Path) -> PretrainedConfig:
    """A checkpoint's config without dropout: a third of a step on a CPU, and few passes over many noisy rows do not overfit."""
    config = AutoConfig.from_pretrained(base)
    for name, value in list(vars(config).items()):
        if "dropout" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def batches(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """Indices of rows in batches of about equal length, the order of batches random within every POOL_BATCHES."""
    result: list[list[int]] = []
    for start in range(0, len(lengths), POOL_BATCHES * size):
        pool = sorted(range(start, min(start + POOL_BATCHES * size, len(lengths))), key=lambda i: lengths[i])
        chunks = [pool[i : i + size] for i in range(0, len(pool), size)]
        result += rng.sample(chunks, len(chunks))
    return result


def parameter_groups(model: torch.nn.Module, recipe: Recipe) -> list[dict]:
    """One group a tensor that is trained, with its `top` rate; the others need no gradient from now on."""
    found = {name: re.search(r"\.layers?\.(\d+)\.", name) for name, _ in model.named_parameters()}
    layers = 1 + max((int(layer[1]) for layer in found.values() if layer), default=-1)
    groups = []
    for name, parameter in model.named_parameters():
        if recipe.freeze and re.search(recipe.freeze, name):
            parameter.requires_grad = False
            continue
        layer = found[name]
        depth = layers - int(layer[1]) if layer else layers + 1 if "embeddings" in name else 0
        top = recipe.rate * recipe.decay**depth
        no_decay = name.endswith("bias") or "LayerNorm" in name
        groups.append({"params": [parameter], "lr": top, "top": top, "weight_decay": 0.0 if no_decay else WEIGHT_DECAY})
    return groups


def train(model: torch.nn.Module, task: Task[Row], recipe: Recipe, state: Path, save_every_s: float = SAVE_EVERY_S) -> Trained:
    """
    Trains `model` in place; the result has the average of its weights. Exits with TEMPORARY when it was stopped.

    @param state file to save to and to resume from; the caller removes it once the result is kept
    """
    torch.manual_seed(recipe.seed)
    rows = [len(task.rows(epoch)) for epoch in range(recipe.epochs)]
    total = sum(-(-count // recipe.size) for count in rows)
    warm_up = max(1, min(WARM_UP_STEPS, total // 10))
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), fused=True)
    mean = copy.deepcopy(model)
    trained = [(ours, theirs) for ours, theirs in zip(mean.parameters(), model.parameters(), strict=True) if theirs.requires_grad]
    saved = SavedState(state, {**asdict(recipe), "rows": rows}, model, mean, optimizer)
    progress = saved.load() or Progress()
    print(f"{sum(rows):,} rows in {recipe.epochs} epochs, {total:,} steps", flush=True)
    if progress.step:
        print(f"resumed after step {progress.step:,}", flush=True)

    state.parent.mkdir(parents=True, exist_ok=True)
    last_save = started = time.monotonic()
    cpu_before, step_before, started_cpu = progress.cpu_s, progress.step, time.process_time()
    model.train()
    with stop_requests() as stopping:
        while progress.epoch < recipe.epochs:
            members = task.rows(progress.epoch)
            plan = batches(task.lengths(members), recipe.size, random.Random(f"{recipe.seed}/{progress.epoch}/batches"))
            while progress.batch < len(plan):
                share = min(1.0, (progress.step + 1) / warm_up) * max(LEAST_RATE, 1 - progress.step / total)
                for group in optimizer.param_groups:
                    group["lr"] = group["top"] * share
                with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
                    loss = task.loss(model, [members[i] for i in plan[progress.batch]])
                loss.backward()
                torch.nn.utils.clip_grad_norm_((theirs for _, theirs in trained), MAX_GRADIENT)
                optimizer.step()
                optimizer.zero_grad()
                progress.batch += 1
                progress.step += 1
                decay = min(recipe.average, progress.step / (progress.step + 10))
                with torch.no_grad():
                    torch._foreach_lerp_([ours for ours, _ in trained], [theirs for _, theirs in trained], 1 - decay)
                progress.loss = loss.item() if progress.loss is None else 0.98 * progress.loss + 0.02 * loss.item()
                progress.cpu_s = cpu_before + time.process_time() - started_cpu
                if progress.step % PROGRESS_EVERY_STEPS == 0:
                    seconds = (time.monotonic() - started) / (progress.step - step_before) * (total - progress.step)
                    print(progress_line(progress, total, seconds), flush=True)
                if stopping() or time.monotonic() - last_save > save_every_s:
                    saved.save(progress)
                    last_save = time.monotonic()
                if stopping():
                    print(f"stopped after step {progress.step:,} of {total:,}; the same command continues", flush=True)
                    raise SystemExit(TEMPORARY)
            progress.epoch, progress.batch = progress.epoch + 1, 0
            saved.save(progress)
    return Trained(mean, rows, progress)


def progress_line(progress: Progress, total: int, seconds_left: float) -> str:
    return (
        f"epoch {progress.epoch}, step {progress.step:,} of {total:,}, loss {progress.loss:.4f}, "
        f"{progress.cpu_s / 60:.1f} CPU min, {seconds_left / 60:.0f} min left"
    )


class SavedState:
    """The file that a run resumes from: weights that are trained, their average, the optimizer, the random numbers, the progress."""

    def __init__(
        self, path: Path, settings: dict, model: torch.nn.Module, mean: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> None:
        self.path, self.settings, self.model, self.mean, self.optimizer = path, settings, model, mean, optimizer
        self.frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}

    def _weights(self, of: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {name: value for name, value in of.state_dict().items() if name not in self.frozen}

    def save(self, progress: Progress) -> None:
        """Whole or not at all: a run may be killed while it saves."""
        state = {
            "settings": self.settings, "progress": asdict(progress), "model": self._weights(self.model),
            "mean": self._weights(self.mean), "optimizer": self.optimizer.state_dict(), "random": torch.get_rng_state(),
        }  # fmt: skip
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path)

    def load(self) -> Progress | None:
        if not self.path.exists():
            return None
        state = torch.load(self.path, weights_only=True)
        changed = {
            name: (state["settings"].get(name), value)
            for name, value in self.settings.items()
            if state["settings"].get(name) != value
        }
        if changed:
            raise SystemExit(
                f"{self.path} is of a run with other settings: "
                + ", ".join(f"{name} was {before}, is {now}" for name, (before, now) in changed.items())
                + ". Remove it to start anew, or repeat that run's command to continue it."
            )
        for model, weights in ((self.model, state["model"]), (self.mean, state["mean"])):
            model.load_state_dict(weights, strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        return Progress(**state["progress"])


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM or Ctrl-C has come since; neither ends the process meanwhile."""
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def token_counts(tokenizer, texts: Sequence[str], most: int) -> list[int]:
    """Tokens of each text with the special ones, `most` at most. Faster than the tokenizer's own call: nothing is kept."""
    # What an earlier call or the file itself has set: with padding every text would be as long as the longest.
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    # Few tokens have more than 16 characters.
    encodings = tokenizer.backend_tokenizer.encode_batch_fast([text[: 16 * most] for text in texts])
    return [min(len(encoding.ids), most) for encoding in encodings]


def save_checkpoint(trained: Trained, base: str | Path, out: Path, facts: dict) -> None:
    """Writes a Hugging Face folder, with the tokenizer of `base` (of a folder byte for byte), and training.json."""
    trained.model.save_pretrained(out)
    if not Path(base).is_dir():
        AutoTokenizer.from_pretrained(base).save_pretrained(out)
    copy_tokenizer(Path(base), out)
    (out / "training.json").write_text(json.dumps(trained.facts() | facts, indent=2, default=str) + "\n", encoding="utf-8")
