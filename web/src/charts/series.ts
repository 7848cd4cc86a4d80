/** From the API's buckets to what a chart draws. Pure, so that every rule has a test. */
import type { BucketTuple, WireNumber } from '../api/types';
import { inNaturalOrder, numberOf } from '../format/format';

export type Axis = 'step' | 'relative' | 'wall';

/** One line of a chart, sorted by x. `null`: nothing can be drawn there (NaN, infinite). */
export interface Line {
  x: number[];
  /** The last value of each bucket. */
  y: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
  /** Where NaN or an infinite value was logged. */
  odd: number[];
  /** Whether a bucket holds more than one point, so that low and high say more than y. */
  banded: boolean;
  points: number;
  nans: number;
}

function finite(value: WireNumber | null): number | null {
  if (value === null) return null;
  const number = numberOf(value);
  return Number.isFinite(number) ? number : null;
}

function xOf(bucket: BucketTuple, axis: Axis, originMs: number): number {
  if (axis === 'step') return bucket[1];
  return axis === 'wall' ? bucket[3] / 1000 : (bucket[3] - originMs) / 1000;
}

/** The first point of all, which the first bucket would hide behind its last one. Counts nothing. */
function openingOf(bucket: BucketTuple | undefined): BucketTuple | null {
  if (bucket === undefined || bucket[8] < 2) return null;
  const [step, , timeMs, , value, , low, high] = bucket;
  return [step, step, timeMs, timeMs, value, value, low, high, 0, 0];
}

/** Lay buckets along an axis. `originMs` is where relative time begins. */
export function lineOf(buckets: readonly BucketTuple[], axis: Axis, originMs: number): Line {
  const placed = buckets.map((bucket) => ({ x: xOf(bucket, axis, originMs), bucket }));
  const opening = openingOf(buckets[0]);
  if (opening !== null) placed.push({ x: xOf(opening, axis, originMs), bucket: opening });
  placed.sort((a, b) => a.x - b.x); // steps rise, but a resumed run's times need not
  const line: Line = { x: [], y: [], low: [], high: [], odd: [], banded: false, points: 0, nans: 0 };
  for (const { x, bucket } of placed) {
    const [, , , , , last, low, high, points, nans] = bucket;
    line.x.push(x);
    line.y.push(finite(last));
    line.low.push(finite(low));
    line.high.push(finite(high));
    line.points += points;
    line.nans += nans;
    line.banded ||= points > 1;
    const infinite = [last, low, high].some((value) => value === 'Infinity' || value === '-Infinity');
    if (nans > 0 || infinite) line.odd.push(x);
  }
  return line;
}

/**
 * Exponential moving average without the pull towards zero at the start (as TensorBoard has it).
 * Gaps stay gaps and do not disturb what follows.
 */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  if (weight <= 0) return [...values];
  let average = 0;
  let debias = 1;
  return values.map((value) => {
    if (value === null) return null;
    average = average * weight + value * (1 - weight);
    debias *= weight;
    return average / (1 - debias);
  });
}

/** What a logarithmic axis can show of a value. */
export function positive(values: readonly (number | null)[]): (number | null)[] {
  return values.map((value) => (value !== null && value > 0 ? value : null));
}

/** Largest value of which an axis can be labelled; the library counts digits as JavaScript keeps them. */
const LABELLED_MAX = 1e15;

/** By what values are divided for the axis: a power of ten, 1 unless they are huge. */
export function unitOf(lines: readonly Line[]): number {
  let largest = 0;
  for (const { y, low, high } of lines)
    for (const values of [y, low, high])
      for (const value of values) largest = Math.max(largest, Math.abs(value ?? 0));
  return largest <= LABELLED_MAX ? 1 : Number(`1e${Math.ceil(Math.log10(largest / LABELLED_MAX))}`);
}

/** Keys by what stands before their first `/`; those without one come first, under `''`. */
export function grouped(keys: readonly string[]): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const key of inNaturalOrder(keys)) {
    const cut = key.indexOf('/');
    const group = cut === -1 ? '' : key.slice(0, cut);
    groups.set(group, [...(groups.get(group) ?? []), key]);
  }
  return [...groups].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
