"""Amulet from Python 3.9 or later, with nothing but the standard library.

AMULET_URL=http://127.0.0.1:3000 python3 classify.py
"""

import json
import os
import time
import uuid
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

URL = os.environ.get("AMULET_URL", "http://127.0.0.1:3000")
KEY = os.environ.get("AMULET_API_KEY")
TRIES = 6


def call(method, path, body=None, **headers):
    """Sends a request; retries while the server is unavailable (503), full (429) or unreachable. Returns the open response."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    for attempt in range(1, TRIES + 1):
        try:
            return urlopen(Request(URL + path, body, headers, method=method), timeout=90)
        except HTTPError as error:
            if error.code not in (429, 502, 503, 504) or attempt == TRIES:
                raise  # error.read() is a problem document: {"code": …, "detail": …, "errors": […]}
            pause = float(error.headers.get("Retry-After", 0)) or attempt
        except (URLError, ConnectionError):
            if attempt == TRIES:
                raise
            pause = attempt
        time.sleep(pause)


def call_json(method, path, value=None, **headers):
    body = None if value is None else json.dumps(value).encode()
    with call(method, path, body, Content_Type="application/json", **headers) as answer:
        return json.load(answer)


# Submit a job of up to 256 texts. It is on disk when this returns. The key makes the retries of call() safe: a lost response
# does not make a second job.
job = call_json(
    "POST",
    "/v1/jobs",
    {"texts": ["utterly charming", {"id": "r2", "text": "a tedious mess"}], "top_k": None},
    Idempotency_Key=str(uuid.uuid4()),
)

# Wait for it: the server holds each response until the job has ended, 25 seconds at most.
while job["status"] in ("queued", "processing"):
    job = call_json("GET", job["urls"]["self"] + "?wait=25")
print(job["status"])
for result in job["results"] or []:
    # The model may fail on one text; the others have their labels.
    print(result.get("id"), result["label"] if "label" in result else result["error"]["code"])

# A batch: any number of texts, as JSON Lines, CSV or plain lines, gzipped or not. Pass a large file as
# open("reviews.jsonl", "rb") with a Content-Length; for a resumable upload send parts: docs/bulk.md.
lines = "".join(
    json.dumps({"id": i, "text": "dull and overlong" if i % 3 == 0 else "a joy to watch"}) + "\n"
    for i in range(1, 1001)
)
with call(
    "POST",
    "/v1/batches",
    lines.encode(),
    Content_Type="application/x-ndjson",
    Idempotency_Key=str(uuid.uuid4()),
) as answer:
    batch = json.load(answer)

# Its results, in order, as they are finished. If the response breaks off, request the rows after the last line.
counts, last = {}, 0
while True:
    whole = False
    try:
        with call("GET", f"{batch['urls']['results']}?follow=true&after={last}") as rows:
            for line in rows:
                if not line.endswith(b"\n"):
                    break
                if line == b"\n":  # A sign of life while nothing is finished.
                    continue
                row = json.loads(line)
                outcome = row["label"] if "label" in row else row["error"]["code"]
                counts[outcome] = counts.get(outcome, 0) + 1
                last = row["line"]
            else:
                whole = True
    except HTTPError:
        raise
    except (OSError, HTTPException):
        pass
    batch = call_json("GET", batch["urls"]["self"])
    if batch["status"] == "completed" and sum(counts.values()) == batch["rows"]["total"]:
        break
    if batch["status"] in ("failed", "canceled", "expired") and whole:
        break
    time.sleep(1)
print(batch["status"], dict(sorted(counts.items())))

# Errors have a code.
try:
    call_json("POST", "/v1/jobs", {"text": " "})
except HTTPError as error:
    problem = json.load(error)
    print(error.code, problem["code"], problem["errors"][0]["message"])

# For notifications instead of polling: docs/webhooks.md has a receiver in Python.
