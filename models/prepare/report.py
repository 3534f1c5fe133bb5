"""Writes the results of compare.py: as JSON, for package_model.py; as a Markdown table and a chart, for people."""

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import onnxruntime

import metrics

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend has to be chosen first)


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    name: str
    megabytes: float
    # By set of labelled texts.
    figures: dict[str, dict]
    agreement: float
    shift: float
    dependence: float
    sorted_rate: float
    sorted_ratio: float
    single_rate: float
    single_ratio: float


@dataclass(frozen=True)
class Report:
    name: str
    family: str
    labels: list[str]
    apply: str
    max_tokens: int
    # Number of texts of every labelled set.
    texts: dict[str, int]
    compared: int
    rounds: int
    shipped: str
    reference: str
    notes: list[str]
    rows: list[Row]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown(report: Report) -> str:
    headlines = metrics.HEADLINES[report.apply]
    columns = [(split, key) for split in report.texts for key in headlines]
    titles = [f"{headlines[key]}, {split}" for split, key in columns]
    alike = {
        "softmax": "share of texts with the same best class as the exported model's",
        "sigmoid": "share of texts with the same labels at or above 0.5 as the exported model's",
        "none": "correlation with the exported model's values",
    }[report.apply]
    versions = f"ONNX Runtime {onnxruntime.__version__}, one thread, {cpu_name()}"
    macro = ["- *macro-F1*: at the one threshold for all labels that is best on the first set."]
    lines = [
        f"# Variants of {report.name}, side by side",
        "",
        f"Made by `compare.py`: {versions}, {report.rounds} rounds in turn.",
        "",
        *(f"- *{split}*: {count:,} labelled texts." for split, count in report.texts.items()),
        *(macro if report.apply == "sigmoid" else []),
        f"- *agreement*: {alike}; *shift*: mean difference of the scores to its; both on {report.compared:,} texts.",
        "- *dependence*: the largest difference between a text's score alone and in random batches of 2 to 32.",
        f"- *sorted*: rows per CPU second, the {report.compared:,} texts in batches of like length of at most 256 padded tokens;",
        f"  *single*: one text at a time. ×: the median, over the rounds, of the ratio to *{report.reference}*.",
        "- *first token*: behind the last attention only the first token is computed (`optimise.py`).",
        "",
        *(f"- {note}" for note in report.notes),
        "",
        f"| {' | '.join(['variant', 'MB', *titles])} | agreement | shift | dependence | sorted | × | single | × |",
        "|---" * (9 + len(titles)) + "|",
    ]
    for row in report.rows:
        name = f"**{row.name}** (shipped)" if row.name == report.shipped else row.name
        cells = [name, f"{row.megabytes:.1f}", *(f"{row.figures[split][key]:.4f}" for split, key in columns)]
        lines.append(
            f"| {' | '.join(cells)} | {row.agreement:.4f} | {row.shift:.4f} | {_zero(row.dependence)} "
            f"| {row.sorted_rate:.0f} | {row.sorted_ratio:.2f} | {row.single_rate:.0f} | {row.single_ratio:.2f} |"
        )
    return "\n".join([*lines, "", "![rows per second and dependence](report.png)", ""])


def _zero(value: float) -> str:
    return f"{value:.1e}" if value else "**0**"


def chart(report: Report, path: Path) -> None:
    rows = report.rows
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.5 * len(rows) + 1.5), sharey=True, layout="constrained")
    names = [row.name for row in rows]
    colours = ["#b5482a" if row.name == report.shipped else "#7a8794" for row in rows]
    left.barh(names, [row.sorted_rate for row in rows], color=colours)
    left.set_xlabel("rows per CPU second, one thread, length-sorted")
    right.barh(names, [max(row.dependence, 1e-8) for row in rows], color=colours)
    right.set_xscale("log")
    right.set_xlabel("largest change of a score by its batch mates (1e-8: none)")
    left.invert_yaxis()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write_report(report: Report, to: Path, json_file: Path) -> None:
    """Writes REPORT.md and report.png into the folder `to`, and all figures as JSON."""
    to.mkdir(parents=True, exist_ok=True)
    (to / "REPORT.md").write_text(markdown(report), encoding="utf-8")
    chart(report, to / "report.png")
    json_file.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")


def read_report(path: Path) -> Report:
    """The report that `write_report` wrote as JSON."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return Report(**values | {"rows": [Row(**row) for row in values["rows"]]})
