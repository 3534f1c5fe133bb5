/** The package.json of the published package. */
import { PACKAGE } from '../src/shared/contract/names.ts';

/** Fields taken from the package.json of the repository. */
export interface RootManifest {
  version: string;
  license: string;
  dependencies: Record<string, string>;
}

/** Dependencies of the command; the client has none. */
const DEPENDENCIES = [
  'csv-parse',
  'hyparquet',
  'hyparquet-compressors',
  'hyparquet-writer',
  'standardwebhooks',
];
/** Peer dependencies that only `amulet model pull` and addresses of S3 need. They are larger than the package, so users install them on demand. */
const OPTIONAL = ['@aws-sdk/client-s3', '@huggingface/hub', 'zod'];

export function manifest({ version, license, dependencies }: RootManifest) {
  const versions = (names: readonly string[]) =>
    Object.fromEntries(names.map((name) => [name, `^${dependencies[name]}`]));
  const entry = (name: string) => ({
    types: `./lib/client/${name}.d.ts`,
    default: `./lib/client/${name}.js`,
  });
  return {
    name: PACKAGE,
    version,
    description: 'Typed client of Amulet, asynchronous text classification, and the amulet command.',
    license,
    type: 'module',
    // For the command; the client runs on any Node 20.
    engines: { node: '>=20.12' },
    // The second name, because npx runs the command that is named like the package.
    bin: { amulet: 'lib/cli/bin.js', [PACKAGE]: 'lib/cli/bin.js' },
    exports: { '.': entry('index'), './node': entry('node'), './package.json': './package.json' },
    sideEffects: ['./lib/cli/*.js'],
    files: ['lib'],
    dependencies: versions(DEPENDENCIES),
    peerDependencies: versions(OPTIONAL),
    peerDependenciesMeta: Object.fromEntries(OPTIONAL.map((name) => [name, { optional: true }])),
    publishConfig: { access: 'public' },
  };
}
