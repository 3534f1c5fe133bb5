/** The benches' own arithmetic: verdicts on budgets, traffic of Redis, repeated rows, answers of other servers. */
import { describe, expect, test } from 'vitest';
import { archiveTexts } from '../../bench/archive.ts';
import { BUDGETS, line, MEASURE_BUDGETS, verdicts, type Budget } from '../../bench/budgets.ts';
import { BENTOML_PREDICT, INFINITY_CLASSIFY, TEI_PREDICT } from '../../bench/peers/clients.ts';
import { allowedCores } from '../../bench/peers/cores.ts';
import { sentences, withRepeats } from '../../bench/texts.ts';
import { callsByName, callsIn, parseTraffic, sumOfTraffic, trafficBetween } from '../../bench/traffic.ts';

describe('budgets', () => {
  const cost: Budget = { name: 'cost', scenario: 'load', figure: 'CPU', atMost: 100 };
  const rate: Budget = { name: 'rate', scenario: 'load', figure: 'rows/s', atLeast: 2, reason: 'peer' };
  const judge = (budget: Budget, figures: Record<string, number | string>) =>
    verdicts({ load: figures }, [budget])[budget.name];

  test('a figure within its limit is met, one beyond it is missed, each with the distance', () => {
    expect(judge(cost, { CPU: 80 })).toEqual({ value: 80, budget: '≤ 100', met: true, comment: 'by 20 %' });
    expect(judge(cost, { CPU: 100 })).toMatchObject({ met: true, comment: 'exactly' });
    expect(judge(cost, { CPU: 100.4 })).toMatchObject({ met: false, comment: 'by 0.4 %' });
    expect(judge(cost, { CPU: 150 })).toMatchObject({ met: false, comment: 'by 50 %' });
    expect(judge(rate, { 'rows/s': 3 })).toMatchObject({ budget: '≥ 2', met: true, comment: 'by 50 %' });
    expect(judge(rate, { 'rows/s': 1.5 })).toMatchObject({ met: false, comment: 'by 25 %' });
  });

  test('a figure with an interval is judged by its median', () => {
    expect(judge(rate, { 'rows/s': '1.990 [1.500, 2.600]' })).toMatchObject({
      value: '1.990 [1.500, 2.600]',
      met: false,
    });
  });

  test('of a limit of zero the distance is a number', () => {
    expect(judge({ ...cost, atMost: 0 }, { CPU: 3 })).toMatchObject({ met: false, comment: 'by 3' });
  });

  test('a figure that the scenario did not measure is listed, with the reason', () => {
    expect(judge(cost, {})).toEqual({ budget: '≤ 100', comment: 'not measured' });
    const missing = judge(rate, { peer: 'skipped: no binary' })!;
    expect(missing).toEqual({ budget: '≥ 2', comment: 'not measured, skipped: no binary' });
    expect(line('rate', missing)).toMatch(/^rate +– +≥ 2 +not measured, skipped: no binary$/);
  });

  test('a scenario that did not run has no verdicts', () => {
    expect(verdicts({ other: {} }, [cost])).toEqual({});
  });

  test('the names are different, as keys of the JSON file, and `budgets` measures the costs of a job', () => {
    expect(new Set(BUDGETS.map(({ name }) => name)).size).toBe(BUDGETS.length);
    const measured = new Set(BUDGETS.map(({ scenario }) => scenario));
    expect(MEASURE_BUDGETS.filter((scenario) => !measured.has(scenario))).toEqual([]);
  });
});

describe('traffic of Redis', () => {
  const info = (zadd: number, info: number, bytes: number) =>
    [
      '# Commandstats',
      `cmdstat_zadd:calls=${zadd},usec=10,usec_per_call=1.00,rejected_calls=0,failed_calls=0`,
      `cmdstat_info:calls=${info},usec=10,usec_per_call=1.00,rejected_calls=0,failed_calls=0`,
      'cmdstat_client|setinfo:calls=2,usec=1,usec_per_call=0.50,rejected_calls=0,failed_calls=0',
      'total_net_input_bytes:1000',
      `total_net_output_bytes:${bytes}`,
      `aof_current_size:${bytes}`,
      'aof_base_size:7',
    ].join('\r\n');

  test('commands count by name, without those that read the counters', () => {
    const used = trafficBetween(parseTraffic(info(5, 1, 0)), parseTraffic(info(25, 9, 600)));
    expect([...used.calls]).toEqual([
      ['zadd', 20],
      ['client|setinfo', 0],
    ]);
    expect(used).toMatchObject({ networkBytes: 600, fileBytes: 600 });
    const twice = sumOfTraffic([used, used]);
    expect(callsIn(twice)).toBe(40);
    expect(callsByName(twice, 16)).toBe('zadd 2.5, client|setinfo 0');
    expect(twice.fileBytes).toBe(1200);
  });
});

describe('texts', () => {
  test('an archive with repeats has every text, in order, and repeats only earlier ones', () => {
    const texts = sentences(700);
    const rows = withRepeats(texts, 1000, 9);
    expect(rows).toHaveLength(1000);
    expect([...new Set(rows)]).toEqual([...new Set(texts)]);
    expect(withRepeats(texts, 1000, 9)).toEqual(rows);
    expect(withRepeats(texts, 1000, 10)).not.toEqual(rows);
    // Spread over the whole archive: no tenth of it is without repeats or without new texts.
    for (let start = 100; start < 1000; start += 100) {
      const seen = new Set(rows.slice(0, start));
      const repeats = rows.slice(start, start + 100).filter((row) => seen.has(row)).length;
      expect(repeats).toBeGreaterThan(5);
      expect(repeats).toBeLessThan(60);
    }
  });

  test('as many rows as texts: no repeats; no texts: an error', () => {
    const texts = sentences(50);
    expect(withRepeats(texts, 50)).toEqual(texts);
    expect(() => withRepeats([], 10)).toThrow('no texts to repeat');
  });

  test('every round of an archive has other texts', () => {
    const long = (round: number) => archiveTexts(500, round).filter((text) => text.length > 40);
    const first = new Set(long(0));
    expect(long(1).filter((text) => first.has(text))).toEqual([]);
    expect(archiveTexts(500, 1)).toEqual(archiveTexts(500, 1));
  });
});

describe('other servers', () => {
  const worst = { label: 'NEGATIVE', score: 0.1 };
  const best = { label: 'POSITIVE', score: 0.9 };

  test('each protocol asks for one text and finds its best label', () => {
    expect(TEI_PREDICT.body('a')).toEqual({ inputs: 'a' });
    expect(TEI_PREDICT.best([worst, best])).toEqual(best);
    expect(INFINITY_CLASSIFY.body('a')).toEqual({ input: ['a'] });
    expect(INFINITY_CLASSIFY.best({ object: 'classify', data: [[worst, best]] })).toEqual(best);
    expect(INFINITY_CLASSIFY.best({ data: [] })).toBeUndefined();
    expect(BENTOML_PREDICT.body('a')).toEqual({ texts: ['a'] });
    expect(BENTOML_PREDICT.best([best])).toEqual(best);
  });

  test('the cores of a process, from ranges', () => {
    expect(allowedCores('Name:\tnode\nCpus_allowed:\t13\nCpus_allowed_list:\t0-1,4\n')).toEqual([0, 1, 4]);
    expect(allowedCores('Cpus_allowed_list:\t7\n')).toEqual([7]);
    expect(allowedCores().length).toBeGreaterThan(0);
  });
});
