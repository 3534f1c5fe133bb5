"""
Plain statements, questions and requests without an opinion, in 15 languages: neutral rows for the languages and domains where no
licensed source has any. The sentences were written for this project: neutral_facts.json has facts, appointments, deliveries and
settings; neutral_everyday.json customers' questions, properties of goods, instructions, plans, families and announcements. Their
places are filled with made-up values, so that a model learns the sentence and not its numbers:

{n} a small number, {t} a time of day, {y} a year, {p} a first name, {d} a day of a month
"""

import json
import random
from pathlib import Path

Templates = dict[str, list[str]]


def _read(name: str) -> Templates:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


FACTS = _read("neutral_facts.json")
EVERYDAY = _read("neutral_everyday.json")

NAMES = "Anna Maria Ivan Peter Lena Omar Yuki Chen Lucas Sofia Marco Elif Pablo Nina David Karim".split()


def neutral_facts(seed: int, each: int, of: Templates = FACTS) -> list[tuple[str, str]]:
    """`each` sentences (text, language) per language."""
    rng = random.Random(seed)
    rows: list[tuple[str, str]] = []
    for lang, templates in sorted(of.items()):
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
