/** Addresses in place of files: which words of the command line are addresses, and how they are shown without secrets. */
import { UsageError } from '../../terminal/exit.ts';
import { S3_PARAMETERS } from './s3-address.ts';

/** The protocol of an address; undefined for a path. @throws UsageError for an address that cannot be read */
export function protocolOf(word: string): 'http' | 's3' | undefined {
  const [, scheme = ''] = /^([a-z][a-z0-9+.-]+):\/\//i.exec(word) ?? [];
  switch (scheme.toLowerCase()) {
    case '':
      return undefined;
    case 'http':
    case 'https':
      return 'http';
    case 's3':
      return 's3';
    default:
      throw new UsageError(
        `${scheme}:// cannot be read, only https://, http:// and s3://: download the file first, or send it through a pipe (-)`,
      );
  }
}

/** @throws UsageError that does not show the password */
export function parseHttpAddress(word: string): URL {
  const url = URL.parse(word);
  if (!url || url.hostname === '') throw new UsageError(`${withoutSecrets(word)} is not a valid address`);
  url.hash = '';
  return url;
}

/** The name of the file behind an address, from which its format is taken. */
export function fileNameOf(word: string): string {
  const protocol = protocolOf(word);
  if (protocol === undefined) return word;
  if (protocol === 's3') return word.replace(S3_PARAMETERS, '');
  const name = URL.parse(word)?.pathname.split('/').at(-1) ?? '';
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

/** Parameters that give access to whoever knows them, such as those of a signed address. */
const SECRET_PARAMETER = /sig|token|key|secret|pass|auth|cred|session|policy|hmac/i;

/** Hides user name, password and the parameters of a signed http address; returns any other word as it is. */
export function withoutSecrets(word: string): string {
  if (!/^https?:\/\//i.test(word)) return word;
  const url = URL.parse(word);
  // An address that cannot be parsed may hold a password all the same.
  if (!url) return word.replace(/[^/]*@/, '***@').replace(/\?.*$/, '');
  const user = url.username + url.password === '' ? '' : '***@';
  const isSigned = [...url.searchParams.keys()].some((name) => SECRET_PARAMETER.test(name));
  if (user === '' && !isSigned) return word;
  // Without the other parameters of a signed address, such as its time: a later one names the same file.
  const query = isSigned ? '?***' : url.search;
  return `${url.protocol}//${user}${url.host}${url.pathname}${query}`;
}
