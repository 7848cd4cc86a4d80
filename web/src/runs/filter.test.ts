import { describe, expect, it } from 'vitest';

import { directionOf, filterOf, identifier, nextOrder } from './filter';

describe('filterOf', () => {
  it.each([
    ['metrics.loss < 0.1', 'metrics.loss < 0.1'],
    ["name LIKE 'a%'", "name LIKE 'a%'"],
    ['params.lr IS NOT NULL', 'params.lr IS NOT NULL'],
    ["state IN ('failed')", "state IN ('failed')"],
    ['  ', ''],
    ['digits', "name ILIKE '%digits%'"],
    ["ada's run in may", "name ILIKE '%ada''s run in may%'"],
  ])('%s', (typed, filter) => {
    expect(filterOf(typed)).toBe(filter);
  });
});

describe('identifiers and orders', () => {
  it('quotes keys that need it', () => {
    expect(identifier('metrics', 'val/loss')).toBe('metrics.val/loss');
    expect(identifier('params', 'learning rate')).toBe('params.`learning rate`');
    expect(identifier('metrics', '1e')).toBe('metrics.`1e`');
  });

  it('goes down, up and back', () => {
    const down = nextOrder('metrics.loss', null);
    expect(down).toBe('metrics.loss desc');
    expect(directionOf('metrics.loss', down)).toBe('descending');
    const up = nextOrder('metrics.loss', down);
    expect(up).toBe('metrics.loss asc');
    expect(nextOrder('metrics.loss', up)).toBeNull();
    expect(nextOrder('name', up)).toBe('name desc');
  });
});
