/** What `--help` says, for 80 columns. */

export const HELP = `amulet - labels texts with an Amulet server

Usage
  amulet backfill FILE --out OUT [options]    labels every text of a file
  amulet model pull ID [options]              brings a model from a hub
  amulet model check FOLDER [options]         looks whether it can be served
  amulet listen [options]                     receives webhooks, for development
  amulet key create NAME                      makes an API key
  amulet backfill --help, amulet model --help, amulet listen --help
  amulet --version
`;

export const LISTEN_HELP = `amulet listen - receives webhooks, for development

Usage
  amulet listen [--port N] [--secret S] [--status N] [--json]

  Verifies every webhook that comes, prints it in a line, and answers. What is
  not signed with the secret is answered with 400. Ctrl-C ends it.

  -p, --port N          of loopback; 0 = any free one              (default: 9000)
  --secret S            whsec_...    (default: that of npm start in this folder,
                        .amulet/webhook-secret)
  --status N            answer so, to see what happens: 500, 429, 410 (default: 204)
  --json                print the whole events, one a line
`;

export const MODEL_HELP = `amulet model - brings and checks the models that workers serve

Usage
  amulet model pull ID [--revision R] [--file F] [--out FOLDER]
  amulet model check FOLDER [--file F] [--text TEXT]...

Pull
  Brings a text classifier with an ONNX file from the Hugging Face hub. The
  folder appears when every byte of it is there and has the hash that the hub
  lists; what was cut off is gone on with by the same command.

  --revision R          branch, tag or commit                  (default: main)
  --file F              ONNX file of the repository    (default: the first of
                        onnx/model_quantized.onnx, onnx/model.onnx, model.onnx)
  -o, --out FOLDER      where to                      (default: models/NAME)
  --force               replace FOLDER if it exists
  -q, --quiet           say nothing but errors
  --patience SECONDS    how long to try again                    (default: 120)

  HF_TOKEN is sent to the hub if it is set, HF_ENDPOINT names another hub. Both
  may be in .env; an HF_ENDPOINT there gets no HF_TOKEN of the environment.

Check
  Loads a folder as a worker would, and says what it is: family, labels, limits,
  inputs, speed, what it makes of a text - or every reason why not.

  --file F              ONNX file, as MODEL_FILE of a worker
  --text TEXT           classify this one; may be repeated
  --json                say it as JSON

Exit codes
  0    done; nothing is wrong
  1    failed; the model cannot be served
  2    wrong usage
  75   gave up for a reason that may pass; the same command goes on
  130  Ctrl-C; the same command goes on (143: SIGTERM)

Example
  amulet model pull Xenova/distilbert-base-uncased-finetuned-sst-2-english
`;

export const BACKFILL_HELP = `amulet backfill - labels every text of a file

Usage
  amulet backfill FILE --out OUT [options]
  amulet backfill - --format FORMAT --out OUT [options]      standard input

  Uploads FILE, waits for the labels and writes them to OUT: a line of JSON for
  every text, in the order of the input. OUT appears when it is whole; until
  then the rows are in OUT.partial. After Ctrl-C, a crash or a power failure the
  same command with --resume goes on where it was, and no row is there twice.

Input
  .jsonl .ndjson   a JSON object per line: {"id": "r1", "text": "..."}
  .csv .tsv        with a header; quoted fields may span lines in .csv
  .txt             a text per line
  Each of them may be gzipped, whatever its name.

  --format FORMAT       ndjson, csv or lines; for other names, and for -
  --text-field NAME     field or column with the text          (default: text)
  --id-field NAME       field or column with your id, which comes back with
                        the labels                   (default: id, if there)
  --delimiter CHAR      CSV: between fields; a character or tab   (default: ,)
  --quote '"'|line|none CSV: fields in quotes may span lines, end on their line,
                        or do not exist     (default: line for tabs, else '"')

Labels
  --top-k N|all         labels per text, best first               (default: 1)
  --model NAME          model                      (default: the server's own)
  --metadata JSON       an object to keep with the batch

Output
  -o, --out OUT         file to write; - writes to standard output as the rows
                        come, and then nothing can be resumed
  --force               replace OUT if it exists
  --resume              go on; begins if there is nothing to go on with, so
                        that a script may repeat one command. Options that are
                        left out are those of the run that is gone on with
  --restart             give up what was begun, and begin anew
  --delete              remove the batch from the server in the end
                        (without: it expires there by itself)
  -q, --quiet           say nothing but errors

Server
  --url URL             its address           (default: http://127.0.0.1:3000)
  --patience SECONDS    how long to wait for a server that does not answer or
                        is full                                (default: 900)
  AMULET_API_KEY, in the environment or .env, is sent as the API key.

Exit codes
  0    every row has its labels
  3    finished, and rows carry errors, some or all: grep '"error":' OUT
  1    failed
  2    wrong usage, or another input than before; nothing more was uploaded
  75   gave up for a reason that may pass; go on with --resume
  130  Ctrl-C; go on with --resume (143: SIGTERM; 141: a closed pipe)

Example
  amulet backfill reviews.csv.gz --text-field review --id-field key -o out.jsonl
`;
