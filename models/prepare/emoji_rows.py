"""
Texts of emoji alone, and emoji behind a plain statement: labelled rows for what people react with. No licensed source has them.
"""

import random

from neutral_facts import neutral_facts

# By label: negative, neutral (things, which say nothing of anybody's mood), positive. None that the base's vocabulary lacks, such as
# 🤮, 🔑 and 🥳: to the model these are one and the same unknown token.
EMOJI: list[list[str]] = [
    list("😠😡😤😢😭😞😔😟🙁☹😣😖😫😩👎💔😒😑🙄😨😰😱😓😥"),
    list("📅📦📎📌📷💻📱🏠🚗✈🗓⏰📚🚲🌍📞✏🛒"),
    list("😀😃😄😁😆😊🙂😍🥰😘😎🤩👍👏🙌❤💕💖🎉✨😻🌟💯🤗😇☺😋💪🔥"),
]
# Plain statements per language to choose from, and the share of rows that have one.
STATEMENTS = 40
WITH_STATEMENT = 0.4


def emoji_rows(seed: int, count: int) -> list[tuple[str, int]]:
    """`count` pairs of text and index of its label (0 negative, 1 neutral, 2 positive)."""
    rng = random.Random(seed)
    statements = [text for text, _lang in neutral_facts(seed, STATEMENTS)]
    rows = []
    for _ in range(count):
        label = rng.choice([0, 1, 2])
        first = rng.choice(EMOJI[label])
        run = rng.choice([first, first * rng.randint(2, 4), "".join(rng.choices(EMOJI[label], k=rng.randint(2, 3)))])
        rows.append((f"{rng.choice(statements)} {run}" if rng.random() < WITH_STATEMENT else run, label))
    return rows
