#!/bin/sh
# Amulet with curl, and jq to read the answers.
#   AMULET_URL=http://127.0.0.1:3000 sh classify.sh
set -eu
url=${AMULET_URL:-http://127.0.0.1:3000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Where the server wants an API key, it is a header. From a file, no other user of this machine sees it.
if [ -n "${AMULET_API_KEY:-}" ]; then echo "Authorization: Bearer $AMULET_API_KEY"; fi >"$work/headers"

# --retry tries again after 408, 429, 5xx and refused connections, as late as Retry-After says. Through a file, which curl
# begins anew each time: on standard output the answers of all tries would stand one behind the other.
amulet() {
  code=0
  rm -f "$work/answer"
  curl --silent --fail-with-body --retry 5 --retry-connrefused --header "@$work/headers" --output "$work/answer" "$@" || code=$?
  [ ! -f "$work/answer" ] || cat "$work/answer"
  return "$code"
}

# A text and its answer, in one call, for when that is all that is wanted.
amulet "$url/predict" -H 'Content-Type: application/json' -d '{"text": "utterly charming"}' | jq -r .label

# Of your own: a repeat with the same one gives the same job or batch.
key=example-$$-$(date +%s)

# Submit a job: it is on disk when this returns.
job=$(amulet "$url/v1/jobs" -H 'Content-Type: application/json' -H "Idempotency-Key: $key-job" \
  -d '{"texts": ["utterly charming", {"id": "r2", "text": "a tedious mess"}], "top_k": null}' | jq -r .urls.self)

# Wait for it: the server holds each answer until the job has ended, 25 seconds at most.
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

# Its results, in order, as they are finished; ?after=LINE goes on after a break. `amulet backfill` does all of that.
amulet "$url$results?follow=true" >"$work/labels.jsonl"
jq -r '.label // .error.code' "$work/labels.jsonl" | sort | uniq -c | sed 's/^ *//'

# What goes wrong has a code.
amulet "$url/v1/jobs" -H 'Content-Type: application/json' -d '{"text": " "}' |
  jq -r '"\(.status) \(.code) \(.errors[0].message)"'

# To be told instead of asking: docs/webhooks.md.
