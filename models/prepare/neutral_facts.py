"""
Plain statements, questions and requests without an opinion, in 15 languages: neutral rows for the languages and domains where no
licensed source has any (facts, appointments, deliveries, settings). neutral_facts.json has the sentences, written for this
project; their places are filled with made-up values, so that a model learns the sentence and not its numbers:

{n} a small number, {t} a time of day, {y} a year, {p} a first name, {d} a day of a month
"""

import json
import random
from pathlib import Path

TEMPLATES: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

NAMES = "Anna Maria Ivan Peter Lena Omar Yuki Chen Lucas Sofia Marco Elif Pablo Nina David Karim".split()


def neutral_facts(seed: int, each: int) -> list[tuple[str, str]]:
    """`each` sentences (text, language) per language."""
    rng = random.Random(seed)
    rows: list[tuple[str, str]] = []
    for lang, templates in sorted(TEMPLATES.items()):
        for _ in range(each):
            values = {
                "n": rng.randint(2, 99),
                "t": f"{rng.randint(6, 22)}:{rng.choice(['00', '15', '30', '45'])}",
                "y": rng.randint(1850, 2024),
                "p": rng.choice(NAMES),
                "d": rng.randint(1, 28),
            }
            rows.append((rng.choice(templates).format(**values), lang))
    return rows
