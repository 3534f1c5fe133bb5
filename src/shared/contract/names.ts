/**
 * The rule for names of models and API keys, which appear in queue names, Redis keys, job ids and URLs. No colon (the separator of
 * BullMQ and of our keys) and no slash.
 */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** The rule in words. */
export const NAME_RULE =
  '1 to 63 ASCII letters, digits, dots, hyphens and underscores, the first a letter or a digit';

/** The rule without anchors, for larger patterns. */
export const NAME_PATTERN = NAME.source.slice(1, -1);

/**
 * The npm package of command and client. `npx amulet-classify` runs this command everywhere; outside a clone, `npx amulet` would run
 * an unrelated package.
 */
export const PACKAGE = 'amulet-classify';
