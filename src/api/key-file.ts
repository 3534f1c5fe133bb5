/**
 * The API keys of API_KEYS and API_KEYS_FILE. The file is checked once a second, because fs.watch misses how Kubernetes and
 * editors change it: a secret is a link that is moved to another folder, and saving replaces the file by another of the same name.
 * A file that cannot be used changes nothing: the earlier keys stay valid until it can. Each API instance checks for itself.
 */
import { open, stat } from 'node:fs/promises';
import { KeySet, parseKeyLine, type ApiKey } from '../shared/runtime/api-keys.ts';
import type { Config } from '../shared/runtime/config.ts';
import { StartupError } from '../shared/runtime/startup-error.ts';
import { toError } from '../shared/runtime/to-error.ts';
import type { Logger } from '../shared/runtime/logger.ts';
import { decodeText } from '../shared/runtime/text-file.ts';

const CHECK_MS = 1000;
const BYTES_PER_KEY = 1000;
/** Names in one log line. */
const MAX_NAMES = 50;

type KeyConfig = Pick<Config, 'API_KEYS' | 'API_KEYS_FILE' | 'MAX_API_KEYS'>;

export interface ReloadableKeysDeps {
  config: KeyConfig;
  logger: Logger;
  /** Called after each change, with the keys that are valid now. */
  onChange: (keys: KeySet) => void;
}

/** Keys that change while the process runs. */
export class ReloadableKeys {
  readonly #deps: ReloadableKeysDeps;
  #keys: KeySet;
  /** Fingerprint of the file when it was last read, and when it was last checked. */
  #readFingerprint: string;
  #checkedFingerprint: string;
  #timer: NodeJS.Timeout | undefined;
  #pending: Promise<void> = Promise.resolve();
  /** Why the file cannot be used; undefined: it can be. */
  #problem: string | undefined;

  /** @throws StartupError when there is no key, or one cannot be used */
  static async open(deps: ReloadableKeysDeps): Promise<ReloadableKeys> {
    const file = deps.config.API_KEYS_FILE;
    const fingerprint = file === undefined ? '' : await fingerprintOf(file);
    const keys = await readKeys(deps.config);
    if (keys.size === 0) throw new StartupError(`API_KEYS_FILE=${file}: the file has no keys`);
    return new ReloadableKeys(deps, keys, fingerprint);
  }

  private constructor(deps: ReloadableKeysDeps, keys: KeySet, fingerprint: string) {
    this.#deps = deps;
    this.#keys = keys;
    this.#readFingerprint = this.#checkedFingerprint = fingerprint;
  }

  get size(): number {
    return this.#keys.size;
  }

  /** False while the file cannot be used, so that earlier keys stay valid. */
  get isFileUsable(): boolean {
    return this.#problem === undefined;
  }

  find(presented: string): ApiKey | undefined {
    return this.#keys.find(presented);
  }

  /** Starts to check the file, unless it is a pipe or a device, which is read only once. */
  watch(): void {
    if (this.#deps.config.API_KEYS_FILE === undefined || this.#readFingerprint === NOT_A_FILE) return;
    this.#timer = setInterval(() => void this.#queue(() => this.#check()), CHECK_MS);
    this.#timer.unref();
  }

  /** Reads the file now, whether it has changed or not. */
  reload(): Promise<void> {
    const { config, logger } = this.#deps;
    const { API_KEYS_FILE: file } = config;
    if (file === undefined || this.#readFingerprint === NOT_A_FILE) {
      logger.warn('SIGHUP: no API_KEYS_FILE to reload; settings are read only at start');
      return Promise.resolve();
    }
    return this.#queue(async () => this.#load(await fingerprintOf(file)));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Runs `work` after earlier work: an older state of the file must not replace a newer one. */
  #queue(work: () => Promise<void>): Promise<void> {
    this.#pending = this.#pending.then(work);
    return this.#pending;
  }

  async #check(): Promise<void> {
    const { API_KEYS_FILE: file = '' } = this.#deps.config;
    const now = await fingerprintOf(file);
    const isSettled = now === this.#checkedFingerprint;
    const isDue = now !== this.#readFingerprint || this.#problem !== undefined;
    this.#checkedFingerprint = now;
    // Wait until the file is the same in two checks: one that is half written would remove keys.
    if (isDue && isSettled) await this.#load(now);
  }

  /** @param fingerprint of the file before it is read: the next check then sees a change during the read */
  async #load(fingerprint: string): Promise<void> {
    const { config, logger, onChange } = this.#deps;
    let keys: KeySet;
    try {
      keys = await readKeys(config);
    } catch (error) {
      const reason = toError(error).message;
      if (reason !== this.#problem)
        logger.error(
          { reason, keys: this.#keys.size },
          'API_KEYS_FILE cannot be used: the earlier keys stay valid',
        );
      this.#problem = reason;
      return;
    }
    this.#readFingerprint = fingerprint;
    if (this.#problem !== undefined) logger.info('API_KEYS_FILE can be used again');
    this.#problem = undefined;
    const before = this.#keys;
    this.#keys = keys;
    this.#report(before);
    onChange(keys);
  }

  #report(before: KeySet): void {
    const { logger } = this.#deps;
    const now = this.#keys;
    const limits = new Map([...before].map(({ hash, perMinute }) => [hash, perMinute]));
    const added = [...now].filter((key) => !before.has(key));
    const removed = [...before].filter((key) => !now.has(key));
    const changed = [...now].filter((key) => before.has(key) && limits.get(key.hash) !== key.perMinute);
    if (added.length + removed.length + changed.length === 0) return;
    const figures = {
      keys: now.size,
      added: names(added),
      removed: names(removed),
      new_limits: names(changed),
    };
    if (now.size > 0) logger.info(figures, 'API keys have changed');
    else logger.warn(figures, 'API_KEYS_FILE has no keys left: every call is refused until it has some');
  }
}

function names(keys: readonly ApiKey[]): string[] {
  const all = [...new Set(keys.map(({ name }) => name))].sort();
  return all.length > MAX_NAMES ? [...all.slice(0, MAX_NAMES), `and ${all.length - MAX_NAMES} more`] : all;
}

const NOT_A_FILE = 'not a regular file';

/** Changes whenever the file, the link to it or its content changes. */
async function fingerprintOf(file: string): Promise<string> {
  try {
    const found = await stat(file, { bigint: true });
    if (!found.isFile()) return NOT_A_FILE;
    return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ');
  } catch (error) {
    return toError(error).message;
  }
}

/** The keys of the settings and of the file. @throws StartupError that quotes no line: it may be a key */
async function readKeys({ API_KEYS, API_KEYS_FILE: file, MAX_API_KEYS }: KeyConfig): Promise<KeySet> {
  const lines = file === undefined ? [] : (await readText(file, MAX_API_KEYS * BYTES_PER_KEY)).split('\n');
  const where = file === undefined ? 'API_KEYS' : `API_KEYS_FILE=${file}`;
  const keys = [...API_KEYS];
  for (const [i, line] of lines.entries()) {
    const entry = line.replace(/#.*/, '').trim();
    if (entry === '') continue;
    try {
      keys.push(parseKeyLine(entry));
    } catch (error) {
      throw new StartupError(`${where}: line ${i + 1}: ${toError(error).message}`, { cause: error });
    }
  }
  if (keys.length > MAX_API_KEYS)
    throw new StartupError(`${where}: ${keys.length} keys are more than MAX_API_KEYS=${MAX_API_KEYS}`);
  try {
    return new KeySet(keys);
  } catch (error) {
    throw new StartupError(`${where}: ${toError(error).message}`, { cause: error });
  }
}

async function readText(file: string, maxBytes: number): Promise<string> {
  const where = `API_KEYS_FILE=${file}`;
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    await using handle = await open(file);
    // Not readFile: a device may have no end.
    for await (const chunk of handle.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > maxBytes)
        throw new StartupError(`${where}: the file is larger than 1,000 bytes per key of MAX_API_KEYS`);
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`${where}: ${toError(error).message}`, { cause: error });
  }
  return decodeText(Buffer.concat(chunks), where);
}
