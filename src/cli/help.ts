/** The texts of `--help`, for 80 columns. */

export const HELP = `amulet - labels texts with an Amulet server

Usage
  amulet backfill FILE... --out OUT [options] label every text of files
  amulet model pull ID [options]              download a model from a hub
  amulet model check FOLDER [options]         check that a worker can serve it
  amulet listen [options]                     receive webhooks, for development
  amulet key create NAME                      create an API key
  amulet COMMAND --help                       explain a command and its options
  amulet --version                            print the version
`;

export const KEY_HELP = `amulet key - creates API keys

Usage
  amulet key create NAME

  Prints a new key on standard output, and on standard error the line with its
  SHA-256 for API_KEYS or API_KEYS_FILE of the server. Sends and stores nothing.
  NAME owns the jobs, batches and webhooks of the key; two keys with one name
  share them. It has up to 63 letters, digits, dots, hyphens and underscores.
`;

export const LISTEN_HELP = `amulet listen - receives webhooks, for development

Usage
  amulet listen [--port N] [--secret S] [--status N] [--json]

  Verifies each webhook, prints it on one line and answers it. A webhook that is
  not signed with the secret is answered with 400. Ctrl-C stops the command.

  -p, --port N          port on 127.0.0.1; 0 = any free port     (default: 9000)
  --secret S            whsec_...   (default: the secret that npm start wrote to
                        .amulet/webhook-secret in this folder)
  --status N            status to answer with; 500, 429 or 410 show how the
                        server reacts                             (default: 204)
  --json                print whole events as JSON, one per line
`;

export const MODEL_HELP = `amulet model - downloads and checks models

Usage
  amulet model pull ID [--revision R] [--file F] [--out FOLDER]
  amulet model check FOLDER [--file F] [--text TEXT]...

Pull
  Downloads a text classifier with an ONNX file from the Hugging Face hub. The
  folder appears once every file is complete and has the hash that the hub
  lists. Run the same command again to resume an interrupted download.

  --revision R          branch, tag or commit                  (default: main)
  --file F              ONNX file in the repository    (default: the first of
                        onnx/model_quantized.onnx, onnx/model.onnx, model.onnx)
  -o, --out FOLDER      folder to create               (default: models/NAME)
  --force               replace FOLDER if it exists
  -q, --quiet           print errors only
  --patience SECONDS    how long to retry while nothing works  (default: 120)

  HF_TOKEN, if set, is sent to the hub; HF_ENDPOINT selects another hub. Both
  may be in .env. An HF_ENDPOINT from there is not sent an HF_TOKEN from the
  environment.

Check
  Loads a folder as a worker would and prints its family, labels, limits,
  inputs, speed and sample results, or every reason why it cannot be served.

  --file F              ONNX file, as MODEL_FILE of a worker
  --text TEXT           text to classify; may be repeated
  --json                print the report as JSON

Exit codes
  0    done; nothing is wrong
  1    failed; the model cannot be served
  2    wrong usage
  75   gave up for a temporary reason; run the same command again to resume
  130  Ctrl-C; run the same command again to resume (143: SIGTERM)

Example
  amulet model pull Xenova/distilbert-base-uncased-finetuned-sst-2-english
`;

export const BACKFILL_HELP = `amulet backfill - labels every text of a file

Usage
  amulet backfill FILE... --out OUT [options]
  amulet backfill FOLDER --out OUT [options]
  amulet backfill URL... --out OUT [options]      https://, s3://bucket/prefix/
  amulet backfill - --format FORMAT --out OUT [options]      standard input

  Uploads FILE, waits for the labels and writes them to OUT: one row per text,
  in the order of the input. OUT appears once it is complete; until then the
  rows are in OUT.partial. After Ctrl-C, a crash or a power failure,
  the same command with --resume continues where it stopped and repeats no row.

Input
  .jsonl .ndjson        a JSON object per line: {"id": "r1", "text": "..."}
  .json                 the same, or one array of objects or texts
  .csv .tsv             with a header; quoted fields may span lines in .csv
  .txt                  a text per line
  .parquet              a row per text; a file, not standard input
  All but Parquet may be compressed with gzip or zstd, whatever its name.
  Several files, or those of a FOLDER in the order of their paths, are read as
  one; they must have the same kind of record, which is checked at first.
  https:// (or http://) names a file on a web server, s3://bucket/key an object,
  and s3://bucket/prefix/ all objects below it. Credentials, region and server
  of S3 are those of the AWS SDK: AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3.

  --format FORMAT       ndjson, json, csv, lines or parquet; needed for other
                        names and for -
  --text-field NAME     field or column with the text          (default: text)
  --id-field NAME       field or column with your id, returned with the labels
                                                    (default: id, if present)
  --delimiter CHAR      CSV: between fields; a character or tab   (default: ,)
  --quote '"'|line|none CSV: quoted fields may span lines, end on their line,
                        or do not exist     (default: line for tabs, else '"')
  --encoding NAME       windows-1251, latin1, shift_jis, utf-16le, ...
                        (default: UTF-8, or UTF-16 by its byte order mark)
  --glob PATTERN        only these files of FOLDER or of a prefix: '*.csv'
  --whole-files         each file is one text, and its path the id
  --limit N             read only the first N rows
  --sample N            read only N rows at random, the same ones each time

Labels
  --top-k N|all         labels per text, best first               (default: 1)
  --threshold T         instead those with this score or more: a number, model
                        for the model's own, or JSON: '{"joy": 0.3}'
  --function-to-apply F scores by softmax, sigmoid or none
                                                  (default: the model's own)
  --model NAME          model                      (default: the server's own)
  --metadata JSON       an object to store with the batch

Output
  -o, --out OUT         file to write; .csv, .tsv and .parquet are tables, other
                        names JSON Lines; .gz or .zst behind it compresses text.
                        - is standard output: JSON Lines as they arrive, others
                        at the end, and such a run cannot be resumed
                        s3://bucket/key is an object of S3; until it is there,
                        the rows are in KEY.s3-....partial in this folder
  --output-format NAME  ndjson, csv, tsv (also .gz, .zst) or parquet, whatever
                        the name of OUT
  --keep all|a,b,c      fields or columns of the input, beside the labels
  --score-columns       tables: a column for the score of each label
  --raw-csv             CSV, TSV: no apostrophe before what a spreadsheet would
                        take for a formula
  --retry-errors OUT    in place of --out: run the error rows of an earlier
                        output again, and put their labels in place
  --summary FILE        write counts of labels and errors as JSON, too
  --dry-run             show what would be read, the first rows, and how long
                        the server would take; upload and write nothing
  --force               replace OUT if it exists
  --resume              resume the earlier run, or start one if none is
                        unfinished, so that a script can repeat one command;
                        options left out are those of the earlier run
  --restart             discard the earlier run and start over
  --delete              remove the batch from the server at the end
                        (otherwise it expires there by itself)
  -q, --quiet           print errors only

Server
  --url URL             its address           (default: http://127.0.0.1:3000)
  --patience SECONDS    how long to retry while the server does not answer or
                        is full                                (default: 900)
  AMULET_API_KEY, in the environment or .env, is sent as the API key.

Exit codes
  0    every row has its labels
  3    finished, but some or all rows have errors: see their field error
  1    failed
  2    wrong usage, or the input has changed; nothing more was uploaded
  75   gave up for a temporary reason; continue with --resume
  130  Ctrl-C; continue with --resume (143: SIGTERM; 141: a closed pipe)

Examples
  amulet backfill reviews.csv.gz --text-field review --id-field key -o out.jsonl
  amulet backfill reviews.csv --text-field review --keep all -o labelled.csv
`;
