/** Addresses in place of files: which they are, what they are called, and what is never shown of them. */
import { describe, expect, test } from 'vitest';
import { completeOptions, parseBackfill, type BackfillCommand } from '../../src/cli/backfill/command-line.ts';
import {
  fileNameOf,
  parseHttpAddress,
  protocolOf,
  withoutSecrets,
} from '../../src/cli/backfill/remote/addresses.ts';
import { parseS3Address, s3Url } from '../../src/cli/backfill/remote/s3-address.ts';
import { workingPath } from '../../src/cli/backfill/remote/working-path.ts';
import { resumeCommand, restartCommand, restartWith } from '../../src/cli/backfill/suggested-commands.ts';
import { UsageError } from '../../src/cli/terminal/exit.ts';

describe('protocolOf', () => {
  test.each([
    ['https://example.com/x', 'http'],
    ['HTTP://example.com/x', 'http'],
    ['s3://bucket/x', 's3'],
    ['file.csv', undefined],
    ['./https:/x', undefined],
    ['C:\\texts.csv', undefined],
    ['-', undefined],
    ['gs://bucket/x', new UsageError('')],
    ['ftp://example.com/x', new UsageError('')],
  ])('%s', (word, expected) => {
    if (!(expected instanceof Error)) expect(protocolOf(word)).toBe(expected);
    else
      expect(() => protocolOf(word)).toThrow(
        /^\w+:\/\/ cannot be read, only https:\/\/, http:\/\/ and s3:\/\/: download/,
      );
  });
});

describe('the format of a file at an address is that of its name', () => {
  test.each([
    ['https://example.com/a/reviews.csv.gz?download=true', 'reviews.csv.gz', 'csv'],
    [
      'https://example.com/a/reviews%20of%20May.tsv?X-Amz-Signature=abc.txt#rows.json',
      'reviews of May.tsv',
      'csv',
    ],
    ['https://example.com/%E0.jsonl', '%E0.jsonl', 'ndjson'],
    ['s3://bucket/a/b.txt', 's3://bucket/a/b.txt', 'lines'],
    ['s3://bucket/a/b.txt?region=eu-west-1', 's3://bucket/a/b.txt', 'lines'],
    ['s3://bucket/a/b.parquet', 's3://bucket/a/b.parquet', 'ndjson'],
  ])('%s', (word, name, format) => {
    expect(fileNameOf(word)).toBe(name);
    expect(completeOptions(word, {}).format).toBe(format);
  });

  test('an address without one', () => {
    expect(() => completeOptions('https://example.com/download?id=3.csv', {})).toThrow(
      /^unknown format of https:\/\/example\.com\/download\?id=3\.csv: use --format /,
    );
  });
});

describe('secrets', () => {
  const signed = 'https://user:pa%40ss@example.com/rows.csv?X-Amz-Date=20261201&X-Amz-Signature=abc#x';
  test.each([
    [signed, 'https://***@example.com/rows.csv?***'],
    ['https://token@example.com/rows.csv', 'https://***@example.com/rows.csv'],
    ['https://example.com/rows.csv?sv=2&sig=abc', 'https://example.com/rows.csv?***'],
    ['https://example.com/rows.csv?access_token=abc', 'https://example.com/rows.csv?***'],
    ['https://example.com/rows.csv?download=true', 'https://example.com/rows.csv?download=true'],
    ['https://user:secret@exa mple.com/rows.csv?sig=abc', 'https://***@exa mple.com/rows.csv'],
    ['s3://bucket/key?region=eu-west-1', 's3://bucket/key?region=eu-west-1'],
    ['a.csv', 'a.csv'],
  ])('%s', (word, shown) => {
    expect(withoutSecrets(word)).toBe(shown);
  });

  test('no message or suggested command has them', () => {
    const command = parseBackfill([signed, '--out', 'out']) as BackfillCommand;
    const url = new URL('http://127.0.0.1:3000');
    for (const said of [
      resumeCommand(command),
      restartCommand(command),
      restartWith(command, url, { options: { format: 'csv' }, reading: {}, sources: undefined }),
    ]) {
      expect(said).toContain("'https://***@example.com/rows.csv?***'");
      expect(said).not.toMatch(/pa%40ss|abc|--format/);
    }
    expect(() => parseHttpAddress('https://user:secret@exa mple.com/rows.csv')).toThrow(
      'https://***@exa mple.com/rows.csv is not a valid address',
    );
  });
});

test('the files of a run whose output is an object lie in the working folder, each object under its own name', () => {
  expect(workingPath('out/labels.csv')).toBe('out/labels.csv');
  const path = workingPath('s3://bucket/a/labels.csv');
  expect(path).toMatch(/^labels\.csv\.s3-[0-9a-f]{8}$/);
  expect(workingPath('s3://bucket/b/labels.csv')).not.toBe(path);
  expect(workingPath('s3://bucket/a/labels.csv?endpoint=http://127.0.0.1:1')).toMatch(/^labels\.csv\.s3-/);
  expect(workingPath('s3://bucket/a/labels.csv?endpoint=http://127.0.0.1:1')).not.toBe(path);
  expect(workingPath(`s3://bucket/${'ü\\:'.repeat(200)}`)).toMatch(/^_{100}\.s3-[0-9a-f]{8}$/);
});

describe('s3://', () => {
  test.each<[string, Partial<ReturnType<typeof parseS3Address>>]>([
    ['s3://bucket/a/b.csv', { bucket: 'bucket', key: 'a/b.csv', region: undefined, parameters: '' }],
    ['s3://bucket', { bucket: 'bucket', key: '' }],
    ['s3://bucket/', { bucket: 'bucket', key: '' }],
    ['s3://bucket/what?.csv', { key: 'what?.csv' }],
    ['s3://bucket/what?region.csv', { key: 'what?region.csv' }],
    ['s3://bucket/a b%20c+ü.csv', { key: 'a b%20c+ü.csv' }],
    ['s3://bucket//a//b', { key: '/a//b' }],
    ['s3://bucket/a?region=eu-west-1', { key: 'a', region: 'eu-west-1', parameters: '?region=eu-west-1' }],
    [
      's3://bucket/a?endpoint=http://127.0.0.1:9000&forcePathStyle=true',
      { key: 'a', endpoint: 'http://127.0.0.1:9000', forcePathStyle: true },
    ],
  ])('%s', (word, expected) => {
    const address = parseS3Address(word);
    expect(address).toMatchObject(expected);
    if (word !== 's3://bucket') expect(s3Url(address, address.key)).toBe(word);
  });

  test.each([
    ['s3://', /there must be the name of a bucket after s3:\/\/$/],
    ['s3:///key', /there must be the name of a bucket/],
    ['s3://bucket_name/key', /there must be the name of a bucket/],
    ['s3://AKIA:secret@bucket/key', /must not hold credentials: the AWS SDK finds them/],
    [`s3://bucket/${'ü'.repeat(513)}`, /a key has at most 1024 bytes$/],
    ['s3://bucket/\ud800', /the key is not valid Unicode$/],
    ['s3://bucket/a?endpoint=nowhere', /endpoint must be an http or https address$/],
    ['s3://bucket/a?endpoint=http://a:b@c', /endpoint must not hold credentials$/],
    ['s3://bucket/a?forcePathStyle=yes', /forcePathStyle must be true or false$/],
  ])('refused: %s', (word, message) => {
    expect(() => parseS3Address(word)).toThrow(message);
  });
});
