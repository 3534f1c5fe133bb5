"""Compares an output of `amulet backfill --keep all` with its Parquet input, as pyarrow, pandas and duckdb read both.

compare.py INPUT OUTPUT     Parquet: the columns of the input have the same types and values in the output
compare.py rows OUTPUT...   all outputs have the same rows by each reader; prints their number
"""

import math
import sys

import pyarrow.parquet as pq

RESULTS = ["line", "label", "score", "labels", "truncated", "unknown", "error", "error_message"]


def same(a, b):
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return a == b


def compare(input_file, output_file):
    before, after = pq.read_table(input_file), pq.read_table(output_file)
    assert before.num_rows == after.num_rows, (before.num_rows, after.num_rows)
    for field in before.schema:
        name = f"input_{field.name}" if field.name in RESULTS else field.name
        kept = after.schema.field(name)
        assert field.type == kept.type, f"{name}: {field.type} became {kept.type}"
        for row, (a, b) in enumerate(zip(cells(before, field.name), cells(after, name))):
            assert same(a, b), f"{name}, row {row}: {a!r} became {b!r}"
    print(after.num_rows)


def cells(table, name):
    column = table[name]
    # Python has no nanoseconds.
    if "timestamp" in str(column.type):
        column = column.cast("int64")
    return column.to_pylist()


def rows(files):
    import duckdb
    import pandas

    counts = set()
    for file in files:
        if file.endswith(".parquet"):
            frame = pandas.read_parquet(file)
            query = f"read_parquet('{file}')"
        elif ".jsonl" in file:
            frame = pandas.read_json(file, lines=True, dtype=False)
            query = f"read_json('{file}', format='newline_delimited')"
        else:
            separator = "\t" if ".tsv" in file else ","
            frame = pandas.read_csv(file, sep=separator, dtype=str, keep_default_na=False)
            query = f"read_csv('{file}', delim='{separator}', quote='\"', header=true, all_varchar=true)"
        read = duckdb.sql(f"SELECT line, label FROM {query} ORDER BY CAST(line AS BIGINT)").fetchall()
        labels = [None if label in ("", None) or label != label else label for label in frame["label"]]
        assert [int(line) for line, _ in read] == [int(line) for line in frame["line"]], file
        assert [label or None for _, label in read] == labels, file
        counts.add((len(frame), tuple(labels)))
    assert len(counts) == 1, [count for count, _ in counts]
    print(counts.pop()[0])


if sys.argv[1] == "rows":
    rows(sys.argv[2:])
else:
    compare(*sys.argv[1:])
