/** Owner of every job while there are no API keys. */
export const EVERYBODY = 'everybody';

/** Set of everybody who ever owned a job or a delivery: whose lists are to be looked after. */
export const ownersKey = (prefix: string): string => `${prefix}:owners`;

/** Sorted set of an owner's jobs, by id and so by time. */
export const jobListKey = (prefix: string, owner: string): string => `${prefix}:jobs:${owner}`;
