/** Names of keys and channels in Redis. */

/** Set of everybody who ever owned a job or a delivery: whose lists are to be looked after. */
export const ownersKey = (prefix: string): string => `${prefix}:owners`;

/** Sorted set of an owner's jobs, by id and so by time. */
export const jobListKey = (prefix: string, owner: string): string => `${prefix}:jobs:${owner}`;
