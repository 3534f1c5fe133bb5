#!/bin/sh
# Amulet with curl, and jq to read the answers.
#   AMULET_URL=http://127.0.0.1:3000 sh classify.sh
set -eu
url=${AMULET_URL:-http://127.0.0.1:3000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A server with API keys expects one in a header. In a file it is hidden from other users of this machine.
if [ -n "${AMULET_API_KEY:-}" ]; then echo "Authorization: Bearer $AMULET_API_KEY"; fi >"$work/headers"

# --retry repeats a request after 408, 429, 5xx and refused connections, as Retry-After asks. Into a file, which curl overwrites
# each time: standard output would collect the responses of all attempts.
amulet() {
  code=0
  rm -f "$work/answer"
  curl --silent --fail-with-body --retry 5 --retry-connrefused --header "@$work/headers" --output "$work/answer" "$@" || code=$?
  [ ! -f "$work/answer" ] || cat "$work/answer"
  return "$code"
}

if ! amulet "$url/health/live" >"$work/health"; then
  echo "no Amulet server answers at $url" >&2
  exit 1
fi

# One text and its labels in one call.
amulet "$url/predict" -H 'Content-Type: application/json' -d '{"text": "utterly charming"}' | jq -r .label

# Your own key: a repetition with the same key returns the same job or batch.
key=example-$$-$(date +%s)

# Submit a job: it is on disk when this returns.
job=$(amulet "$url/v1/jobs" -H 'Content-Type: application/json' -H "Idempotency-Key: $key-job" \
  -d '{"texts": ["utterly charming", {"id": "r2", "text": "a tedious mess"}], "top_k": null}' | jq -r .urls.self)

# Wait for it: the server holds each response until the job has ended, 25 seconds at most.
while :; do
  amulet "$url$job?wait=25" >"$work/job.json"
  case $(jq -r .status "$work/job.json") in queued | processing) ;; *) break ;; esac
done
jq -r '.status, (.results[] | "\(.id // "-") \(.label // .error.code)")' "$work/job.json"

# A batch: any number of texts, as JSON Lines, CSV or plain lines, gzipped or not. -T streams a file of any size.
{
  echo 'id,review'
  seq 1 1000 | sed 's/$/,a joy to watch/; s/^\([0-9]*0\),.*/\1,"dull, overlong"/'
} >"$work/reviews.csv"
results=$(amulet "$url/v1/batches?text_field=review" -X POST -T "$work/reviews.csv" \
  -H 'Content-Type: text/csv' -H "Idempotency-Key: $key-batch" | jq -r .urls.results)

# Its results, in order, as they are finished; ?after=LINE continues after a break. `amulet backfill` does all of this.
amulet "$url$results?follow=true" >"$work/labels.jsonl"
jq -r '.label // .error.code' "$work/labels.jsonl" | sort | uniq -c | sed 's/^ *//'

# Errors have a code.
amulet "$url/v1/jobs" -H 'Content-Type: application/json' -d '{"text": " "}' |
  jq -r '"\(.status) \(.code) \(.errors[0].message)"'

# For notifications instead of polling: docs/webhooks.md.
