"""
Makes and teaches a student: a smaller model that learns the scores of a teacher, and the hard labels of those texts that have some.

For one label a text (softmax) the loss is the Kullback-Leibler divergence from the teacher's distribution to the student's, both
softened by a temperature, so that the teacher's doubts count (Hinton et al. 2015); for several (sigmoid) it is the binary
cross-entropy with the teacher's scores. Texts of the held-out part are never trained on: distil_report.py measures with them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

import training
from taught import Taught, is_held_out
from text_data import Labelled
from training import Recipe, Trained, without_dropout

TEMPERATURE = 2.0
SMOOTHING = 0.05
# No more than this share of the texts is held out, however few there are.
MOST_HELD_OUT = 0.1
# Scores of 0 and 1 would be infinite logits.
LEAST_SCORE = 1e-7


@dataclass
class Lessons:
    """Texts to learn, or to measure with. Rows without scores have their hard labels alone."""

    labels: list[str]
    apply: str
    texts: list[str] = field(default_factory=list)
    # [texts, labels]; NaN: the teacher has not seen this text.
    scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    hard: list[tuple[int, ...] | None] = field(default_factory=list)

    def part(self, chosen: Sequence[int]) -> "Lessons":
        picked = [self.texts[i] for i in chosen], self.scores[list(chosen)], [self.hard[i] for i in chosen]
        return Lessons(self.labels, self.apply, *picked)

    def labelled(self) -> list[int]:
        return [i for i, hard in enumerate(self.hard) if hard is not None]


def lessons_of(taught: Taught, labelled: list[Labelled], kept_apart: list[str], held_out: int) -> tuple[Lessons, Lessons]:
    """
    What is trained on, and what is held out: about `held_out` texts.

    @param labelled texts with hard labels; those that the teacher has seen have both
    @param kept_apart texts of tests
    """
    everything = Lessons(taught.labels, taught.apply, list(taught.texts), taught.scores, list(taught.hard))
    places = {text: i for i, text in enumerate(everything.texts)}
    alone = []
    for row in labelled:
        place = places.get(row.text)
        if place is None:
            alone.append(row)
        else:
            everything.hard[place] = row.labels
    everything.texts += [row.text for row in alone]
    everything.hard += [row.labels for row in alone]
    unseen = np.full((len(alone), len(taught.labels)), np.nan, np.float32)
    everything.scores = np.concatenate([everything.scores, unseen])
    if taught.apply == "softmax":
        wrong = next((i for i in everything.labelled() if len(everything.hard[i] or ()) != 1), None)
        if wrong is not None:
            raise SystemExit(f"{everything.texts[wrong][:60]!r} has {len(everything.hard[wrong] or ())} labels; the teacher gives every text one")

    tests = {_plain(text) for text in kept_apart}
    share = min(MOST_HELD_OUT, held_out / len(everything.texts))
    held = [is_held_out(text, share) for text in everything.texts]
    kept = [i for i, is_held in enumerate(held) if not is_held and _plain(everything.texts[i]) not in tests]
    # Only what the teacher has seen can show whether the student agrees.
    measured = [i for i, is_held in enumerate(held) if is_held and not np.isnan(everything.scores[i, 0])]
    if not kept or not measured:
        raise SystemExit(f"{len(kept):,} texts to train on and {len(measured):,} held out: too few")
    return everything.part(kept), everything.part(measured)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def distance(
    logits: torch.Tensor, scores: torch.Tensor, hard: Sequence[tuple[int, ...] | None], apply: str, labelled_share: float
) -> torch.Tensor:
    """
    The loss of a batch. A row with scores and a hard label counts the label by `labelled_share`, the scores by the rest; a row with
    one of them counts that alone.
    """
    seen = ~scores.isnan().any(dim=1)
    given = torch.tensor([labels is not None for labels in hard])
    truth = torch.zeros_like(logits)
    for row, labels in enumerate(hard):
        truth[row, list(labels or ())] = 1
    taught = scores.where(seen[:, None], truth)
    if apply == "softmax":
        softened = functional.softmax(taught.clamp(LEAST_SCORE).log() / TEMPERATURE, -1)
        predicted = functional.log_softmax(logits / TEMPERATURE, -1)
        by_teacher = functional.kl_div(predicted, softened, reduction="none").sum(1) * TEMPERATURE**2
        smooth = truth * (1 - SMOOTHING) + SMOOTHING / truth.shape[1]
        by_label = -(smooth * functional.log_softmax(logits, -1)).sum(1)
    else:
        # Summed over the labels: their mean would make every step of a rare label's weights tiny.
        by_teacher = functional.binary_cross_entropy_with_logits(logits, taught, reduction="none").sum(1)
        by_label = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
    of_label = torch.where(seen, torch.full_like(by_label, labelled_share), torch.ones_like(by_label)) * given
    return (of_label * by_label + (1 - of_label) * by_teacher).mean()


def smaller_encoder(
    base: str | Path, layers: list[int] | None, lessons: Lessons, *, with_head: bool, seed: int
) -> torch.nn.Module:
    """
    A classifier with some layers of an encoder.

    @param with_head `base` is the teacher: its head goes on, so its labels have to be the lessons' in their order
    """
    config = without_dropout(base)
    if with_head:
        theirs = [config.id2label.get(i, "") for i in range(config.num_labels)]
        if theirs != lessons.labels:
            raise SystemExit(f"{base} has the labels {', '.join(theirs)}; the rows have {', '.join(lessons.labels)}")
    config.num_labels = len(lessons.labels)
    config.id2label = dict(enumerate(lessons.labels))
    config.label2id = {label: i for i, label in enumerate(lessons.labels)}
    config.problem_type = "multi_label_classification" if lessons.apply == "sigmoid" else "single_label_classification"
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, config=config, ignore_mismatched_sizes=not with_head)
    if layers is not None:
        keep_layers(model, layers)
    if not with_head:
        start_from_means(model, lessons)
    return model


def keep_layers(model: torch.nn.Module, layers: list[int]) -> None:
    count = model.config.num_hidden_layers
    for parent in model.modules():
        for name, child in parent.named_children():
            if name in ("layer", "layers") and isinstance(child, torch.nn.ModuleList) and len(child) == count:
                if not layers or not all(0 <= layer < count for layer in layers):
                    raise SystemExit(f"--layers: the encoder has the layers 0 to {count - 1}")
                setattr(parent, name, torch.nn.ModuleList(child[layer] for layer in layers))
                model.config.num_hidden_layers = len(layers)
                return
    raise SystemExit(f"a {model.config.model_type} has no list of layers to choose from: leave --layers out")


def start_from_means(model: torch.nn.Module, lessons: Lessons) -> None:
    """Sets the biases of the last layer to the mean scores, so that training need not find out that most labels are rare."""
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.out_features == len(lessons.labels)]
    last[-1].bias.data = mean_logits(lessons)


def mean_logits(lessons: Lessons) -> torch.Tensor:
    """[labels]: what a model should answer that has not looked at the text."""
    share = torch.from_numpy(np.nanmean(lessons.scores, axis=0).clip(1e-4, 1 - 1e-4)).float()
    return share.log() if lessons.apply == "softmax" else torch.logit(share)


def teach(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, lessons: Lessons, recipe: Recipe, state: Path, *,
    max_tokens: int, labelled_share: float,
) -> Trained:  # fmt: skip
    """Trains the student on every lesson once an epoch."""
    lengths = training.token_counts(tokenizer, lessons.texts, max_tokens)

    def loss(student: torch.nn.Module, rows: list[int]) -> torch.Tensor:
        encoded = tokenizer([lessons.texts[i] for i in rows], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        logits = student(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits.float()
        return distance(logits, torch.from_numpy(lessons.scores[rows]), [lessons.hard[i] for i in rows], lessons.apply, labelled_share)

    def rows_of_epoch(epoch: int) -> list[int]:
        return random.Random(f"{recipe.seed}/{epoch}").sample(range(len(lessons.texts)), len(lessons.texts))

    task = training.Task(rows_of_epoch, lambda rows: [lengths[i] for i in rows], loss)
    return training.train(model, task, recipe, state)


@torch.inference_mode()
def scores_of(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, lessons: Lessons, max_tokens: int) -> np.ndarray:
    """The student's scores of texts, [texts, labels], in PyTorch."""
    model.eval()
    lengths = training.token_counts(tokenizer, lessons.texts, max_tokens)
    result = np.zeros((len(lessons.texts), len(lessons.labels)), np.float32)
    for rows in training.batches(lengths, 64, random.Random(0)):
        encoded = tokenizer([lessons.texts[i] for i in rows], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits.float()
        result[rows] = (torch.softmax(logits, -1) if lessons.apply == "softmax" else torch.sigmoid(logits)).numpy()
    return result
