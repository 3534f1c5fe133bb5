/** TLS certificates for tests, made by the `openssl` command. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Both as PEM. */
export interface Certificate {
  cert: string;
  key: string;
}

/** Whether there is an OpenSSL that can do it (3.0 or later). */
export function canMakeCertificates(): boolean {
  return /^OpenSSL ([3-9]|\d\d)\./.test(String(spawnSync('openssl', ['version']).stdout));
}

/** Certificates that are trusted by whoever trusts this one. */
export class CertificateAuthority {
  readonly #dir = mkdtempSync(path.join(tmpdir(), 'amulet-certificates-'));

  constructor() {
    this.#make('ca', 'CN=Amulet test CA', []);
  }

  /** The file with its own certificate, for NODE_EXTRA_CA_CERTS. */
  get file(): string {
    return path.join(this.#dir, 'ca.pem');
  }

  /** A certificate for a name or an address, and for other names as well. */
  issue(name: string, ...others: string[]): Certificate {
    const authority = ['-CA', this.file, '-CAkey', path.join(this.#dir, 'ca.key')];
    return this.#make(name, `CN=${name}`, [
      ...authority,
      '-addext',
      `subjectAltName=${[`${isIP(name) ? 'IP' : 'DNS'}:${name}`, ...others.map((other) => `DNS:${other}`)].join(',')}`,
    ]);
  }

  /** One that only vouches for itself. */
  selfSigned(name: string): Certificate {
    return this.#make(`self-signed-${name}`, `CN=${name}`, ['-addext', `subjectAltName=DNS:${name}`]);
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #make(file: string, subject: string, options: string[]): Certificate {
    const cert = path.join(this.#dir, `${file}.pem`);
    const key = path.join(this.#dir, `${file}.key`);
    // prettier-ignore
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '1',
      '-subj', `/${subject}`, '-keyout', key, '-out', cert, ...options,
    ], { stdio: 'pipe' });
    return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
  }
}
