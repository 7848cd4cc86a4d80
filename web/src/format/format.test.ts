import { describe, expect, it } from 'vitest';

import {
  counted,
  grouped,
  inNaturalOrder,
  shownAge,
  shownBytes,
  shownDuration,
  shownNumber,
  shownTick,
  shownTicks,
} from './format';

describe('shownNumber', () => {
  it.each([
    [0, '0'],
    [0.1234567, '0.123457'],
    [-0.5, '−0.5'],
    [12_345, '12 345'],
    [1e-7, '1e−7'],
    [1.23456e-7, '1.235e−7'],
    [2.5e9, '2.5e9'],
    [1234.5678, '1234.57'],
    ['NaN', 'NaN'],
    ['Infinity', '∞'],
    ['-Infinity', '−∞'],
    [null, '–'],
    [undefined, '–'],
  ] as const)('%s', (value, shown) => {
    expect(shownNumber(value)).toBe(shown);
  });
});

describe('shownTicks', () => {
  it.each([
    [[0, 0.5, 1], ['0', '0.5', '1']],
    [[0, 1e10, 2e10], ['0', '1e10', '2e10']],
    [[1e10, 1e10 + 5, 1e10 + 10], ['10 000 000 000', '10 000 000 005', '10 000 000 010']],
    [[-1.0000001, -1.0000002], ['−1.0000001', '−1.0000002']],
  ])('%j', (ticks, shown) => {
    expect(shownTicks(ticks)).toEqual(shown);
  });
});

describe('inNaturalOrder', () => {
  it('counts as people do, and always the same way', () => {
    expect(inNaturalOrder(['m10', 'm2', 'm1', 'a/9', 'a/10'])).toEqual(['a/9', 'a/10', 'm1', 'm2', 'm10']);
    expect(inNaturalOrder(['x01', 'x1', 'x001'])).toEqual(inNaturalOrder(['x001', 'x1', 'x01']));
  });
});

describe('sizes and times', () => {
  it('have units', () => {
    expect(shownBytes(0)).toBe('0 B');
    expect(shownBytes(1536)).toBe('1.5 KiB');
    expect(shownBytes(3 * 1024 ** 3)).toBe('3.0 GiB');
    expect(shownDuration(0.05)).toBe('50 ms');
    expect(shownDuration(-61)).toBe('−1 min 01 s');
    expect(shownDuration(61)).toBe('1 min 01 s');
    expect(shownDuration(7322)).toBe('2 h 02 min');
    expect(shownDuration(3 * 86_400)).toBe('3 d 0 h');
  });

  it('say how long ago', () => {
    const nowMs = 1_700_000_000_000;
    expect(shownAge((nowMs - 90_000) * 1e6, nowMs)).toBe('1 min ago');
    expect(shownAge((nowMs + 5000) * 1e6, nowMs)).toBe('just now');
    expect(shownAge(null, nowMs)).toBe('–');
  });

  it('mark an axis by what its ticks are apart', () => {
    const noon = new Date(2026, 2, 1, 12, 30, 5).getTime() / 1000;
    const midnight = new Date(2026, 2, 1).getTime() / 1000;
    expect(shownTick(noon, 1)).toBe('12:30:05');
    expect(shownTick(noon + 0.25, 0.05)).toBe('30:05.250');
    expect(shownTick(noon, 3600)).toBe('12:30');
    expect(shownTick(midnight, 3600)).toBe('03-01');
  });

  it('count', () => {
    expect(counted(1, 'file')).toBe('1 file');
    expect(counted(1000, 'file')).toBe('1 000 files');
    expect(grouped(-1234567)).toBe('−1 234 567');
  });
});
