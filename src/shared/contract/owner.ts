/** Owner of every job while there are no API keys. */
export const EVERYBODY = 'everybody';
