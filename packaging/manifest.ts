/** The package.json of the published package. */
import { PACKAGE } from '../src/shared/contract/names.ts';

/** What it takes from that of the repository. */
export interface RootManifest {
  version: string;
  license: string;
  dependencies: Record<string, string>;
}

/** What the command needs; the client needs none. */
const DEPENDENCIES = ['csv-parse', 'standardwebhooks'];
/** Of `amulet model pull` alone, and larger than all the rest: whoever wants it installs them, and it says so. */
const OPTIONAL = ['@huggingface/hub', 'zod'];

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
    // The client runs on any 20.
    engines: { node: '>=20.12' },
    // The second, because npx runs the one that is named like the package.
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
