/** Owner of every job while no API keys are set. */
export const EVERYBODY = 'everybody';
