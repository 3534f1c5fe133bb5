"""The figures of evaluate_sentiment.py as Markdown tables, for its report and for the model card."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from sentiment_tests import LABELS, NEUTRAL, SOURCES

# Macro-F1 on UMSAB by language, trained on all languages, as the README of cardiffnlp/xlm-t prints it.
UMSAB: dict[str, tuple[float, float]] = {
    "ar": (0.643, 0.669), "de": (0.728, 0.773), "en": (0.685, 0.706), "es": (0.660, 0.679),
    "fr": (0.705, 0.712), "hi": (0.534, 0.564), "it": (0.686, 0.691), "pt": (0.698, 0.754),
}  # fmt: skip
UMSAB_MEAN = (0.668, 0.694)


def table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def mean(tests: list[dict], of: Callable[[dict], float | None]) -> float | None:
    """Mean over the tests that have the figure: every test counts the same."""
    values = [value for test in tests if (value := of(test)) is not None]
    return float(np.mean(values)) if values else None


def neutral_recall(test: dict) -> float | None:
    row = test["confusion"][NEUTRAL]
    return row[NEUTRAL] / sum(row) if sum(row) else None


def measures(tests: list[dict]) -> list[str]:
    three = [test for test in tests if test["classes"] == 3]
    return [
        f"{sum(test['rows'] for test in tests):,}",
        number(mean(tests, lambda test: test["accuracy"])), number(mean(tests, lambda test: test["majority"])),
        number(mean(tests, lambda test: test["balanced_recall"])), number(mean(three, lambda test: test["macro_f1"])),
        percent(mean(tests, neutral_recall)), percent(mean(tests, lambda test: test["called_neutral"])),
    ]  # fmt: skip


MEASURES = ["rows", "accuracy", "majority", "negative/positive", "macro-F1", "neutral found", "called neutral"]


def grouped(evaluation: dict, key: str) -> str:
    """Means of the tests that share a language or a domain, most rows first; SST-2's dev split aside."""
    groups = defaultdict(list)
    for test in evaluation["tests"]:
        if test["split"] == "test":
            groups[test[key]].append(test)
    order = sorted(groups.items(), key=lambda item: -sum(test["rows"] for test in item[1]))
    rows = [[name, str(len(tests)), *measures(tests)] for name, tests in order]
    return table([{"lang": "language"}.get(key, key), "tests", *MEASURES], rows)


def sources(evaluation: dict) -> str:
    rows = []
    for test in evaluation["tests"]:
        split = "" if test["split"] == "test" else f" ({test['split']})"
        rows.append([test["source"] + split, test["lang"], test["domain"], *measures([test])])
    return table(["source", "language", "domain", *MEASURES], rows)


def umsab(evaluation: dict) -> str:
    tests = {test["lang"]: test for test in evaluation["tests"] if test["source"] == "xlm_t"}
    rows = [
        [
            lang,
            f"{tests[lang]['rows']:,}",
            number(tests[lang]["accuracy"]),
            number(tests[lang]["macro_f1"]),
            *map(number, published),
        ]
        for lang, published in UMSAB.items()
        if lang in tests
    ]
    if len(rows) == len(UMSAB):
        means = [number(mean(list(tests.values()), lambda test, key=key: test[key])) for key in ("accuracy", "macro_f1")]
        rows.append(["**mean**", f"{sum(test['rows'] for test in tests.values()):,}", *means, *map(number, UMSAB_MEAN)])
    return table(["language", "rows", "accuracy", "macro-F1", "XLM-R base", "XLM-T"], rows)


def neutral(evaluation: dict) -> str:
    """Confusion of the neutral class by domain, over the tests that have it."""
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((3, 3), dtype=int))
    for test in evaluation["tests"]:
        if neutral_recall(test) is not None:
            sums[test["domain"]] += np.array(test["confusion"])
    rows = []
    for domain, counts in sorted(sums.items(), key=lambda item: -item[1][NEUTRAL].sum()):
        truly, called = counts[NEUTRAL] / counts[NEUTRAL].sum(), counts[:, NEUTRAL] / max(1, counts[:, NEUTRAL].sum())
        rows.append(
            [domain, f"{counts[NEUTRAL].sum():,}", *map(percent, truly), f"{counts[:, NEUTRAL].sum():,}", *map(percent, called)]
        )
    titles = [
        "domain",
        "neutral rows",
        *(f"called {name}" for name in LABELS),
        "rows called neutral",
        *(f"truly {name}" for name in LABELS),
    ]
    return table(titles, rows)


def reference(evaluation: dict) -> str:
    rows = [
        [
            row["lang"],
            f"{row['rows']:,}",
            number(row["accuracy"]),
            number(row["reference"]),
            f"{100 * (row['accuracy'] - row['reference']):+.1f}",
            percent(row["agreement"]),
        ]
        for row in evaluation.get("reference", [])
    ]
    return table(["language", "rows", "this file", "float32", "points", "same class"], rows)


def typed(evaluation: dict) -> str:
    rows = [
        [
            row["lang"],
            f"{percent(row['polar'])} of {row['polar_rows']}",
            f"{percent(row['neutral'])} of {row['neutral_rows']}" if row["neutral_rows"] else "",
        ]
        for row in evaluation.get("typed", [])
    ]
    return table(["language", "positive and negative", "neutral"], rows)


def misleading(evaluation: dict) -> str:
    rows = [
        [
            row["kind"],
            row["text"],
            row["label"],
            f"{row['said']} {row['score']:.2f}" + ("" if row["said"] == row["label"] else " ✗"),
        ]
        for row in evaluation.get("misleading", [])
    ]
    return table(["kind", "sentence", "meant", "the model"], rows)


def identity(evaluation: dict) -> str:
    rows = [
        [
            row["lang"],
            str(row["groups"]),
            number(row["mean"]),
            f"{row['lowest']} {row['lowest_score']:.2f}",
            f"{row['highest']} {row['highest_score']:.2f}",
            number(row["highest_score"] - row["lowest_score"]),
        ]
        for row in evaluation.get("identity", [])
    ]
    return table(["language", "terms", "mean P(negative)", "lowest", "highest", "spread"], rows)


def bars(evaluation: dict) -> str:
    rows = [
        [bar["name"], f"{bar['value']:.3f}", f"{bar['least']:.2f}", "yes" if bar["holds"] else "**no**"]
        for bar in evaluation["bars"]
    ]
    return table(["bar", "reached", "at least", "holds"], rows)


def data() -> str:
    """Where training and test rows come from."""
    rows = [[f"`{name}`", source.what, source.domain, source.licence, source.used_for] for name, source in SOURCES.items()]
    return table(["source", "what", "domain", "licence", "used for"], rows)


def tables(evaluation: dict) -> dict[str, str]:
    """Every table by name: places of a model card, as in `{evaluation[tables][umsab]}`."""
    return {
        "umsab": umsab(evaluation), "languages": grouped(evaluation, "lang"), "domains": grouped(evaluation, "domain"),
        "sources": sources(evaluation), "neutral": neutral(evaluation), "reference": reference(evaluation), "typed": typed(evaluation),
        "misleading": misleading(evaluation), "identity": identity(evaluation), "bars": bars(evaluation), "data": data(),
    }  # fmt: skip


def calibration_tables(report: dict) -> dict[str, str]:
    """What calibrate.py found, for the places `{calibration[tables][summary]}`, `…[languages]` and `…[domains]` of a model card."""
    error, bias = report["calibration_error"], report["bias_tried"]
    added = ", ".join(f"{name} {value:+.2f}" for name, value in bias.items())
    summary = (
        f"The logits are divided by a temperature of {report['temperature']:.2f}. Expected calibration error on {report['rows']:,} dev rows "
        f"that it was not fitted on: {error['before']:.3f} before, {error['after']:.3f} after. "
    )
    if report["bias_kept"]:
        summary += (
            f"Before that, biases are added to the logits ({added}): they make the rarer class easier to reach outside tweets."
        )
    else:
        summary += f"Biases of the classes ({added}) were tried and not kept: most domains, or their mean, did not gain by them."
    before, after = report["languages"]["before"], report["languages"]["after"]
    languages = [
        [lang, f"{before[lang]['rows']:,}", number(before[lang]["calibration_error"]), number(after[lang]["calibration_error"])]
        for lang in before
    ]
    states = [report["domains"][name] for name in ("before", "with_bias")]
    domains = [
        [
            domain,
            *(number(state[domain]["macro_f1"]) for state in states),
            *(percent(state[domain]["neutral_recall"]) for state in states),
        ]
        for domain in states[0]
    ]
    return {
        "summary": summary,
        "languages": table(["language", "dev rows", "error before", "error after"], languages),
        "domains": table(["domain", "macro-F1", "with biases", "neutral found", "with biases"], domains),
    }


def markdown(evaluation: dict) -> str:
    parts = [
        f"# {evaluation['model']} on {evaluation['rows']:,} test rows",
        "Every test counts the same in a mean. *accuracy*, *majority*: of the model, and of the most frequent class. *negative/positive*: mean "
        "recall of the two, each row judged by the better of both scores; a coin has 0.5. *macro-F1*: tests with three classes. *neutral "
        "found*: recall of the neutral class. Tests without neutral rows are judged by the better of negative and positive.",
    ]
    titles = {
        "bars": "Bars", "umsab": "UMSAB", "languages": "By language", "domains": "By domain", "neutral": "Neutral", "reference": "Against float32",
        "typed": "Typed sentences", "misleading": "Misleading sentences", "identity": "Groups of people", "sources": "By source",
    }  # fmt: skip
    for name, title in titles.items():
        if evaluation["tables"][name].count("\n") > 1:
            parts += [f"## {title}", evaluation["tables"][name]]
    if mistakes := evaluation.get("typed_mistakes"):
        parts.append(
            "Wrong:\n\n" + "\n".join(f"- {m['lang']}, {m['label']}: {m['text']} → {m['said']} {m['score']:.2f}" for m in mistakes)
        )
    return "\n\n".join(parts) + "\n"
