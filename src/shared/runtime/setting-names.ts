/** Finds misspelt settings: they would be ignored, and with `API_KEY=…` the API would be open to everyone. */

/** Other variables that `.env` may hold: of the SDKs, of Node, Docker Compose and the system. */
const FOREIGN =
  /^(AWS_|OTEL_|HF_|NODE_|npm_|COMPOSE_|DOCKER_|BUILDKIT_|GF_|MINIO_|ORT_|ONNXRUNTIME_|UV_|LC_|XDG_|TEST_|CI$|TZ$|LANG$|PATH$|HOME$|TMPDIR$|DEBUG$|(HTTPS?|NO|ALL)_PROXY$|SSL_CERT_|REDIS_MAXMEMORY$|CHROMIUM$|AMULET_API_KEY$|AMULET_LAUNCHER$)/i;

/** Shortest name in the environment, which is full of unrelated names, that may count as a misspelt setting. */
const MIN_LENGTH = 7;

export interface GivenNames {
  /** Names in `.env`: each is meant for Amulet or Docker Compose. */
  file: readonly string[];
  /** Names in the environment: most have nothing to do with Amulet. */
  environment: readonly string[];
}

/**
 * Warnings about names that are not settings but were probably meant to be.
 * @param known the names of all settings
 */
export function unknownSettings(given: GivenNames, known: readonly string[]): string[] {
  const isKnown = new Set(known);
  const strangers = (names: readonly string[]) =>
    [...new Set(names)].filter((name) => !isKnown.has(name) && !FOREIGN.test(name));
  const inFile = new Set(given.file);
  return [
    ...strangers(given.file).map((name) => {
      const meant = nearest(name, known, Math.max(1, Math.floor(name.length / 4)));
      return meant === undefined
        ? `${name} in .env is not a setting and is ignored (docs/settings.md lists them)`
        : `${name} in .env is not a setting and is ignored: did you mean ${meant}?`;
    }),
    ...strangers(given.environment)
      .filter((name) => name.length >= MIN_LENGTH && !inFile.has(name))
      .flatMap((name) => {
        const meant = nearest(name, known, name.length >= 11 ? 2 : 1);
        return meant === undefined || meant.length < MIN_LENGTH
          ? []
          : [`${name} in the environment is not a setting and is ignored: did you mean ${meant}?`];
      }),
  ];
}

/** The name that differs least, by at most `most` characters; case, hyphens and a leading `AMULET_` do not count. */
function nearest(name: string, known: readonly string[], most: number): string | undefined {
  const plain = name
    .toUpperCase()
    .replaceAll('-', '_')
    .replace(/^AMULET_/, '');
  const ranked = known
    .map((each) => {
      // A missing underscore counts as no difference.
      if (plain.replaceAll('_', '') === each.replaceAll('_', '')) return { each, apart: 0 };
      // Most names are too long or too short; comparing them all would take 5 % of the start of a process.
      const lengths = Math.abs(plain.length - each.length);
      return { each, apart: lengths > most ? lengths : distance(plain, each) };
    })
    .sort((a, b) => a.apart - b.apart);
  const [best] = ranked;
  return best !== undefined && best.apart <= most ? best.each : undefined;
}

/** Edit distance: characters to insert, remove, replace or swap with their neighbour. */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(i - 1, j) + 1,
          at(i, j - 1) + 1,
          at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
          swapped ? at(i - 2, j - 2) + 1 : Infinity,
        ),
      );
    }
  }
  return at(a.length, b.length);
}
