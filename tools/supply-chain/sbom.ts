/** The software bill of materials (CycloneDX) of a production install, for scanners. */
import { label, type LockedPackage } from './packages.ts';

interface Component {
  'bom-ref': string;
  /** With its scope, such as `@hono/node-server`. */
  name: string;
  version: string;
}

/** The parts of a CycloneDX document that are read or changed here; the rest is passed on. */
export interface Sbom {
  components: Component[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

/**
 * Leaves what is needed for production.
 *
 * `npm sbom --omit=dev` would do it, but also leaves out every package that production shares with a development
 * dependency: with npm 11.19 `standardwebhooks` was missing, which svix needs, too.
 * @param sbom of everything, made without `--omit`
 */
export function onlyProduction<S extends Sbom>(sbom: S, packages: readonly LockedPackage[]): S {
  const labels = new Set(packages.map(label));
  const components = sbom.components.filter((component) => labels.has(label(component)));
  const dropped = new Set(
    sbom.components
      .filter((component) => !components.includes(component))
      .map((component) => component['bom-ref']),
  );
  const dependencies = sbom.dependencies
    .filter(({ ref }) => !dropped.has(ref))
    .map(({ dependsOn = [], ...rest }) => ({
      ...rest,
      dependsOn: dependsOn.filter((ref) => !dropped.has(ref)),
    }));
  return { ...sbom, components, dependencies };
}

/** Packages that the document does not name. */
export function missingFrom({ components }: Sbom, packages: readonly LockedPackage[]): string[] {
  const named = new Set(components.map(label));
  return [...new Set(packages.map(label))].filter((each) => !named.has(each));
}
