import { describe, expect, it } from 'vitest';

import type { BucketTuple } from '../api/types';
import { grouped, lineOf, positive, smoothed, unitOf } from './series';

function point(step: number, value: number | 'NaN' | 'Infinity'): BucketTuple {
  const odd = typeof value !== 'number';
  const extreme = value === 'NaN' ? null : value;
  return [step, step, step * 1000, step * 1000, value, value, extreme, extreme, 1, odd && value === 'NaN' ? 1 : 0];
}

describe('lineOf', () => {
  it('puts points where they were logged', () => {
    const line = lineOf([point(0, 2), point(5, 1)], 'step', 0);
    expect(line).toMatchObject({ x: [0, 5], y: [2, 1], banded: false, points: 2, odd: [] });
    expect(lineOf([point(0, 2), point(5, 1)], 'relative', 1000).x).toEqual([-1, 4]);
  });

  it('shows where values are that cannot be drawn', () => {
    const line = lineOf([point(0, 2), point(1, 'NaN'), point(2, 'Infinity'), point(3, 1)], 'step', 0);
    expect(line.y).toEqual([2, null, null, 1]);
    expect(line.odd).toEqual([1, 2]);
    expect(line.nans).toBe(1);
  });

  it('begins at the first point and keeps the extremes of buckets', () => {
    const line = lineOf([[0, 9, 0, 9000, 5, 1, 0.5, 7, 10, 0]], 'step', 0);
    expect(line).toMatchObject({ x: [0, 9], y: [5, 1], low: [0.5, 0.5], high: [7, 7], banded: true, points: 10 });
  });

  it('is sorted by time where a resumed run logged earlier steps later', () => {
    const buckets: BucketTuple[] = [point(1, 1), point(2, 2)];
    buckets[0] = [1, 1, 9000, 9000, 1, 1, 1, 1, 1, 0];
    expect(lineOf(buckets, 'wall', 0).x).toEqual([2, 9]);
  });
});

describe('smoothed', () => {
  it('starts at the first value and leaves gaps alone', () => {
    expect(smoothed([4, 4, null, 4], 0.9).map((value) => value && Number(value.toFixed(9)))).toEqual([4, 4, null, 4]);
    expect(smoothed([1, 2, 3], 0)).toEqual([1, 2, 3]);
    const [first, second] = smoothed([0, 1], 0.5);
    expect(first).toBe(0);
    expect(second).toBeCloseTo(2 / 3);
  });
});

it('a logarithmic axis shows positive values only', () => {
  expect(positive([1, 0, -1, null])).toEqual([1, null, null, null]);
});

it('huge values have a unit in which an axis can be labelled', () => {
  const unit = (...values: number[]) => unitOf([lineOf(values.map((value, step) => point(step, value)), 'step', 0)]);
  expect(unit()).toBe(1);
  expect(unit(1e15, -3)).toBe(1);
  expect(unit(-2e15)).toBe(10);
  expect(unit(Number.MAX_VALUE)).toBe(1e294);
  expect(unit(Number.MAX_VALUE, 1)).toBe(1e294);
});

it('metrics are grouped by their prefix', () => {
  expect(grouped(['val/loss10', 'val/loss9', 'lr', 'train/loss', 'train/acc', 'loss'])).toEqual([
    ['', ['loss', 'lr']],
    ['train', ['train/acc', 'train/loss']],
    ['val', ['val/loss9', 'val/loss10']],
  ]);
});
