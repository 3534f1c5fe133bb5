"""
Compares a student with its teacher: on texts that were held out, how often both say the same, by label and by how certain the
teacher is; on labelled texts, how often each is right; and what each costs.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import metrics
from evaluate import Classifier, batch_dependence, seconds, sorted_batches, sorted_scores
from model_folder import ModelFolder
from report import cpu_name
from student import Lessons
from text_data import Split, spread

PARTS = 10


@dataclass(frozen=True)
class Side:
    """The student or the teacher: a graph, and the folder with its tokenizer."""

    graph: Path
    folder: ModelFolder

    def classifier(self) -> Classifier:
        return Classifier(self.graph, self.folder)


def decisions(apply: str, scores: np.ndarray) -> np.ndarray:
    """Which labels a model gives each text, bool [texts, labels]: the best one, or all from 0.5."""
    return np.eye(scores.shape[1], dtype=bool)[scores.argmax(axis=1)] if apply == "softmax" else scores >= 0.5


def certainty(apply: str, scores: np.ndarray) -> np.ndarray:
    """[texts]: the best score, or for several labels that of the decision which is nearest to 0.5."""
    return scores.max(axis=1) if apply == "softmax" else 0.5 + np.abs(scores - 0.5).min(axis=1)


def by_label(held_out: Lessons, scores: np.ndarray) -> list[str]:
    theirs, ours = decisions(held_out.apply, held_out.scores), decisions(held_out.apply, scores)
    lines = ["| label | teacher | student | both | F1 | mean difference of the scores |", "|---" * 6 + "|"]
    for i, label in enumerate(held_out.labels):
        teacher, student, both = int(theirs[:, i].sum()), int(ours[:, i].sum()), int((theirs[:, i] & ours[:, i]).sum())
        f1 = f"{2 * both / (teacher + student):.2f}" if teacher + student else "–"
        difference = np.abs(held_out.scores[:, i] - scores[:, i]).mean()
        lines.append(f"| {label} | {teacher:,} | {student:,} | {both:,} | {f1} | {difference:.3f} |")
    return lines


def by_certainty(held_out: Lessons, scores: np.ndarray) -> list[str]:
    """Agreement in ten parts of the texts, those that the teacher is least certain of first."""
    sure = certainty(held_out.apply, held_out.scores)
    same = (decisions(held_out.apply, held_out.scores) == decisions(held_out.apply, scores)).all(axis=1)
    lines = ["| certainty of the teacher | texts | agreement |", "|---|---|---|"]
    for part in np.array_split(np.argsort(sure, kind="stable"), min(PARTS, len(sure))):
        lines.append(f"| {sure[part[0]]:.2f} to {sure[part[-1]]:.2f} | {len(part):,} | {same[part].mean():.3f} |")
    return lines


def rates(sides: dict[str, Side], texts: list[str], rounds: int) -> dict[str, list[float]]:
    """
    Rows per CPU second of each, one thread, tokens ready, in batches of like length. They take turns, because the speed of a shared
    machine drifts: compare within a round.
    """
    plans = {}
    for name, side in sides.items():
        rows = side.folder.encode(texts)
        plans[name] = side.classifier(), rows, sorted_batches(rows)
        seconds(*plans[name])
    result: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, plan in plans.items():
            # What takes less than a tick of the clock is repeated until it takes longer.
            spent, repeats = 0.0, 0
            while spent < 0.05:
                spent, repeats = spent + seconds(*plan), repeats + 1
            result[name].append(repeats * len(texts) / spent)
    return result


def section(
    student: Side, teacher: Side | None, held_out: Lessons, learnt: int, tests: Split | None, *, rounds: int, sample: int
) -> str:  # fmt: skip
    """The part of REPORT.md about student and teacher."""
    sides = {"student": student} | ({"teacher": teacher} if teacher else {})
    scores = sorted_scores(student.classifier(), held_out.texts)
    agreement = metrics.agreement(held_out.apply, scores, held_out.scores)
    chosen = decisions(held_out.apply, held_out.scores)
    commonest = max(float((chosen == row).all(axis=1).mean()) for row in np.unique(chosen, axis=0))
    table = [("size", [f"{side.graph.stat().st_size / 1e6:.2f} MB" for side in sides.values()])]
    measured = rates(sides, spread(held_out.texts, sample), rounds)
    speed = [f"{statistics.median(measured[name]):,.0f}" for name in sides]
    if teacher:
        ratio = statistics.median(mine / theirs for mine, theirs in zip(measured["student"], measured["teacher"]))
        speed[0] += f" ({ratio:.1f} ×)"
    table.append(("rows a CPU second", speed))
    for key, title in metrics.HEADLINES[held_out.apply].items() if tests else ():
        figures = [metrics.figures(held_out.apply, _in_order(side, held_out, tests.texts), tests.truth)[key] for side in sides.values()]
        table.append((f"{title}, test ({len(tests.texts):,})", [f"{value:.4f}" for value in figures]))
    dependence = batch_dependence(student.classifier(), spread(held_out.texts, sample), rounds=1)
    table.append(("largest change of a score by its batch", [f"{dependence:.0e}" if dependence else "0", *(["–"] if teacher else [])]))
    says, verb = ("best label", "is") if held_out.apply == "softmax" else ("labels at or above 0.5", "are")
    return "\n".join([
        "## Student and teacher",
        "",
        f"The student learnt from {learnt:,} texts. On {len(held_out.texts):,} others its {says} {verb} the teacher's in **{agreement:.1%}** of the texts;"
        f" the teacher's commonest answer alone would be in {commonest:.1%}. One thread of {cpu_name()}, tokens ready.",
        "",
        f"| | {' | '.join(sides)} |",
        "|---" * (len(sides) + 1) + "|",
        *(f"| {name} | {' | '.join(values)} |" for name, values in table),
        "",
        f"Labels of the texts held out, given by the teacher, by the student ({says}), and by both:",
        "",
        *by_label(held_out, scores),
        "",
        "Agreement by the teacher's " + ("best score:" if held_out.apply == "softmax" else "score nearest to 0.5 (0.8 means 0.8 or 0.2):"),
        "",
        *by_certainty(held_out, scores),
        "",
    ])  # fmt: skip


def _in_order(side: Side, held_out: Lessons, texts: list[str]) -> np.ndarray:
    """Scores with the labels in the order of the lessons."""
    if sorted(side.folder.labels) != sorted(held_out.labels):
        raise SystemExit(f"{side.graph} has the labels {', '.join(side.folder.labels)}, the student {', '.join(held_out.labels)}")
    return sorted_scores(side.classifier(), texts)[:, [side.folder.labels.index(label) for label in held_out.labels]]
