/** Entry of the page's scripts: creates the panels and starts them. */
import type { Model } from '../../../shared/contract/models.ts';
import { Api } from './api.ts';
import { BatchPanel } from './batch-panel.ts';
import { enableCopying } from './copy.ts';
import { JobPanel } from './job-panel.ts';
import { Keys } from './keys.ts';
import { ModelChoice } from './models.ts';
import { StatsPanel } from './stats-panel.ts';

const keys = new Keys(begin);
const api = new Api(keys);
const jobs = new JobPanel(api);
const choices = [jobs.model, new ModelChoice('batch-model')] as const;
const stats = new StatsPanel(api);
const batches = new BatchPanel(api, choices[1]);
enableCopying();
batches.open();
begin();

/** Called at the start, and when the key has changed: everything may look different then. */
function begin(): void {
  stats.restart();
  batches.reopen();
  void offerModels();
}

/** Without a response both forms still work, with the default model. */
async function offerModels(): Promise<void> {
  const { models } = await api.json<{ models: Model[] }>('/v1/models').catch(() => ({ models: [] }));
  for (const choice of choices) choice.offer(models);
}
