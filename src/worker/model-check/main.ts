/**
 * Entry of the process behind `amulet model check`: checks a model folder and sends the report to its parent. The model runs in
 * a separate process, as in a worker, so that a native crash does not end this one.
 */
import { checkModel } from './check-model.ts';

const [folder = '', file = '', ...texts] = process.argv.slice(2);
const report = await checkModel(folder, file === '' ? undefined : file, texts);
process.send?.(report, undefined, undefined, () => process.exit(0));
