/** `npm run docs:dashboard`: writes amulet.json. */
import { writeFileSync } from 'node:fs';
import { dashboard } from './dashboard.ts';

writeFileSync(new URL('./amulet.json', import.meta.url), dashboard());
