/**
 * Names of models and of API keys: parts of queue names, keys in Redis, job ids and URLs. No colon (the separator of BullMQ and of
 * our keys) and no slash.
 */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** The same for people. */
export const NAME_RULE =
  '1 to 63 ASCII letters, digits, dots, hyphens and underscores, the first a letter or a digit';

/** The same without its anchors, for larger patterns. */
export const NAME_PATTERN = NAME.source.slice(1, -1);

/**
 * The package of the command and the client on npm. `npx amulet-classify` is this command in a clone and elsewhere; `npx amulet`
 * elsewhere is the package of somebody else.
 */
export const PACKAGE = 'amulet-classify';
