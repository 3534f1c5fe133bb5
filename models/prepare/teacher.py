"""
Labels texts with a model folder by ONNX Runtime, with all scores, as `distil.py label` does: where no Amulet serves the teacher, or
to use all cores for it. A run that was stopped continues where it was: rows are written in blocks, and an incomplete last
block is cut off.
"""

import gzip
import hashlib
import itertools
import json
import os
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from evaluate import Classifier, sorted_batches
from model_folder import graph_of, read_model_folder
from taught import MAX_CHARS, Record, lines_of, open_bytes, records
from training import TEMPORARY, stop_requests

# Texts that are sorted by length together, and written together.
BLOCK_ROWS = 8192
# Padded tokens of a batch.
BATCH_TOKENS = 512
# Fields of a text that go on into its row.
CARRIED = ("id", "label", "lang")


def label(model: Path, texts: Path, out: Path, *, threads: int, text_field: str) -> dict:
    """Writes the rows of all texts to `out`; returns their numbers. Exits with TEMPORARY when it was stopped."""
    folder = read_model_folder(model)
    if folder.apply == "none":
        raise SystemExit(f"{model} is a regression: a student cannot be taught by it")
    graph = graph_of(model)
    sha256 = hashlib.sha256(graph.read_bytes()).hexdigest()
    teacher = {"labels": folder.labels, "apply": folder.apply, "graph": sha256[:12], "texts": texts.name, "bytes": texts.stat().st_size}
    if out.exists():
        raise SystemExit(f"{out} exists: it is complete, or remove it")
    partial = out.with_name(f"{out.name}.partial")
    done = complete_rows(partial, teacher)
    classifier = Classifier(graph, folder)
    started, read, failed = time.monotonic(), 0, 0
    with stop_requests() as stopping, ThreadPoolExecutor(threads) as pool, partial.open("ab") as file:
        if file.tell() == 0:
            write_block(file, out, [{"teacher": teacher}])
        rest = itertools.islice(records(texts, text_field), done, None)
        while block := list(itertools.islice(rest, BLOCK_ROWS)):
            rows = list(scored(block, classifier, pool))
            write_block(file, out, rows)
            read += len(rows)
            failed += sum("error" in row for row in rows)
            rate = read / (time.monotonic() - started)
            print(f"{done + read:,} rows, {rate:.0f} a second", flush=True)
            if stopping():
                print("stopped; the same command continues", flush=True)
                raise SystemExit(TEMPORARY)
    os.replace(partial, out)
    return {"rows": done + read, "without_text": failed, "before": done}


def scored(block: list[Record], classifier: Classifier, pool: ThreadPoolExecutor) -> Iterator[dict]:
    """A row for each record, in their order."""
    readable = [i for i, record in enumerate(block) if record.text is not None]
    ids = classifier.folder.encode([block[i].text[:MAX_CHARS] for i in readable]) if readable else []
    batches = sorted_batches(ids, BATCH_TOKENS)
    scores: dict[int, np.ndarray] = {}
    # One session for all threads: each runs its own batch on one core.
    for batch, values in zip(batches, pool.map(lambda batch: classifier.scores([ids[i] for i in batch]), batches)):
        scores |= {readable[place]: value for place, value in zip(batch, values)}
    for i, record in enumerate(block):
        if i not in scores:
            yield {"line": record.line, "error": {"code": "invalid_text"}}
            continue
        carried = {name: record.fields[name] for name in CARRIED if record.fields.get(name) is not None}
        yield {**carried, "text": record.text, "scores": [round(float(score), 6) for score in scores[i]]}


def write_block(file, out: Path, rows: list[dict]) -> None:
    """Appends rows; in a file that is to be gzipped as a stream of their own, which ends with them."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")
    file.write(gzip.compress(content, 6, mtime=0) if out.suffix == ".gz" else content)
    file.flush()


def complete_rows(partial: Path, teacher: dict) -> int:
    """Cuts off what is incomplete at the end of an earlier run's file, and counts its rows."""
    if not partial.exists():
        return 0
    os.truncate(partial, complete_bytes(partial))
    count = 0
    with open_bytes(partial) as file:
        for number, line in lines_of(file):
            if number == 1 and json.loads(line or b"{}").get("teacher") != teacher:
                raise SystemExit(f"{partial} is of another model or other texts: remove it to start anew")
            count = number - 1
    if count:
        print(f"{count:,} rows are there already", flush=True)
    return count


def complete_bytes(path: Path) -> int:
    """Bytes up to the end of the last complete line, or of the last complete gzip stream."""
    content_at, complete = 0, 0
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            file.seek(0)
            for line in file:
                content_at += len(line)
                complete = content_at if line.endswith(b"\n") else complete
            return complete
        file.seek(0)
        stream, rest = zlib.decompressobj(31), b""
        while chunk := rest or file.read(1 << 20):
            try:
                stream.decompress(chunk)
            except zlib.error:
                return complete
            rest = stream.unused_data
            if stream.eof:
                content_at = file.tell() - len(rest)
                complete, stream = content_at, zlib.decompressobj(31)
    return complete
