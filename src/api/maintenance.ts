/** Timers of an API instance: what it does without a caller. A run that fails, mostly because Redis is away, is repeated. */
import type { Logger } from '../shared/runtime/logger.ts';
import { toError } from '../shared/runtime/to-error.ts';
import type { Services } from './services.ts';

const EXPIRE_S = 1;
const DISKS_S = 5;
const BATCHES_S = 5;
const JOBS_S = 60;
const UNSERVED_S = 10;

/** @returns a function that ends the timers */
export function startMaintenance(services: Services, logger: Logger): () => void {
  const { jobs, jobMaintenance, batchMaintenance, disks, unservedWork } = services;
  const every = (seconds: number, work: string, run: () => Promise<void>) =>
    setInterval(() => {
      run().catch((error: unknown) =>
        logger.debug({ reason: toError(error).message }, `${work} failed; retrying in ${seconds} s`),
      );
    }, seconds * 1000);
  const timers = [
    every(EXPIRE_S, 'expiring overdue jobs', () => jobs.expireOverdue()),
    every(DISKS_S, 'checking the disks', () => disks.check()),
    every(BATCHES_S, 'batch maintenance', () => batchMaintenance.run()),
    every(UNSERVED_S, 'looking for work without a worker', () => unservedWork.check()),
    every(JOBS_S, 'job maintenance', () => jobMaintenance.run()),
  ];
  return () => timers.forEach((timer) => clearInterval(timer));
}
