import { describe, expect, it } from 'vitest';

import type { LogLine, LogView } from '../api/types';
import {
  appended,
  EMPTY_WINDOW,
  isFull,
  pageBefore,
  prepended,
  rowOfLine,
  rowsOf,
  WINDOW_CHARS_MAX,
  WINDOW_LINES_MAX,
  windowOf,
} from './log-window';

function line(number: number, text = `line ${number}`, rest: Partial<LogLine> = {}): LogLine {
  return { number, time_ns: number, stream: 'out', text, end: '\n', continued: false, ...rest };
}

function span(from: number, to: number): LogLine[] {
  return Array.from({ length: to - from + 1 }, (_, at) => line(from + at));
}

function page(lines: LogLine[], rest: Partial<LogView> = {}): LogView {
  const last = lines.at(-1)?.number ?? 0;
  return {
    attempt: 1,
    task: 'main',
    setup: null,
    lines,
    next_line: last + 1,
    total_lines: last,
    lines_missing: 0,
    finished: false,
    ...rest,
  };
}

const ALL = { collapse: true, stream: null };

describe('the window', () => {
  it('knows both of its ends', () => {
    const whole = windowOf(page(span(1, 5), { finished: true }), false);
    expect([whole.atStart, whole.atEnd]).toEqual([true, true]);
    const middle = windowOf(page(span(500, 600), { total_lines: 1000 }), false);
    expect([middle.atStart, middle.atEnd]).toEqual([false, false]);
  });

  it('does not take a page with missing lines for the end', () => {
    const lines = [...span(1, 9), ...span(20, 100)];
    const found = windowOf(page(lines, { total_lines: 1_000_000, lines_missing: 10 }), false);
    expect(found.atEnd).toBe(false);
  });

  it('takes an empty page for the end', () => {
    const window = windowOf(page(span(1, 5), { total_lines: 9 }), false);
    expect(window.atEnd).toBe(false);
    expect(appended(window, page([], { next_line: 6, total_lines: 9 }), false).atEnd).toBe(true);
  });

  it('takes no line twice when pages overlap', () => {
    const window = appended(windowOf(page(span(1, 5)), false), page(span(4, 8)), true);
    expect(window.lines.map((one) => one.number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const before = prepended(windowOf(page(span(5, 8)), false), page(span(3, 6)));
    expect(before.lines.map((one) => one.number)).toEqual([3, 4, 5, 6, 7, 8]);
  });

  it('lets go of the top when it is full, and says so', () => {
    const full = windowOf(page(span(1, WINDOW_LINES_MAX)), true);
    const moved = appended(full, page(span(WINDOW_LINES_MAX + 1, WINDOW_LINES_MAX + 10)), true);
    expect(moved.lines).toHaveLength(WINDOW_LINES_MAX);
    expect(moved.lines[0]?.number).toBe(11);
    expect(moved.atStart).toBe(false);
  });

  it('lets go of the bottom when earlier lines come, and can go on from there', () => {
    const full = windowOf(page(span(1001, 1000 + WINDOW_LINES_MAX)), true);
    const moved = prepended(full, page(span(501, 1000)));
    expect(moved.lines).toHaveLength(WINDOW_LINES_MAX);
    expect(moved.atEnd).toBe(false);
    expect(moved.nextLine).toBe((moved.lines.at(-1)?.number ?? 0) + 1);
  });

  it('is bounded in characters too', () => {
    const long = 'x'.repeat(64 * 1024);
    const lines = span(1, 700).map((one) => ({ ...one, text: long }));
    const window = appended(windowOf(page(lines.slice(0, 400)), true), page(lines.slice(400)), true);
    const chars = window.lines.reduce((sum, one) => sum + one.text.length, 0);
    expect(chars).toBeLessThanOrEqual(WINDOW_CHARS_MAX);
    expect(window.lines.at(-1)?.number).toBe(700);
    expect([isFull(window), window.atStart]).toEqual([true, false]);
  });

  it('asks for the page right before it', () => {
    const window = windowOf(page(span(501, 600)), true);
    expect(pageBefore(window, 1000)).toEqual({ from: 1, limit: 500 });
    expect(pageBefore(window, 100)).toEqual({ from: 401, limit: 100 });
  });
});

describe('rows', () => {
  it('say which lines are missing, at the start too', () => {
    const rows = rowsOf({ lines: [...span(3, 4), ...span(10, 10)], atStart: true }, ALL);
    expect(rows.map((row) => (row.kind === 'missing' ? [row.from, row.to] : row.line.number))).toEqual([
      [1, 2],
      3,
      4,
      [5, 9],
      10,
    ]);
  });

  it('do not call lines missing that were not loaded', () => {
    const rows = rowsOf({ lines: span(500, 502), atStart: false }, ALL);
    expect(rows.every((row) => row.kind === 'line')).toBe(true);
  });

  it('show only the last state of a progress bar', () => {
    const lines = [
      line(1, ' 10%', { end: '\r', stream: 'err' }),
      line(2, 'printed between'),
      line(3, ' 50%', { end: '\r', stream: 'err' }),
      line(4, '100%', { stream: 'err' }),
      line(5, 'after', { stream: 'err' }),
    ];
    const texts = rowsOf({ lines, atStart: true }, ALL).map((row) => row.kind === 'line' && row.text);
    expect(texts).toEqual(['printed between', '100%', 'after']);
    expect(rowsOf({ lines, atStart: true }, { ...ALL, collapse: false })).toHaveLength(5);
  });

  it('keep what was printed when only a line end follows a carriage return', () => {
    const lines = [line(1, '100%', { end: '\r' }), line(2, '')];
    const [row] = rowsOf({ lines, atStart: true }, ALL);
    expect(row).toMatchObject({ kind: 'line', text: '100%', replaced: 1 });
  });

  it('of one stream do not show gaps', () => {
    const lines = [line(1), line(2, 'x', { stream: 'err' }), line(3)];
    const rows = rowsOf({ lines, atStart: true }, { collapse: true, stream: 'out' });
    expect(rows.map((row) => row.key)).toEqual([1, 3]);
  });

  it('can be found by line number', () => {
    const rows = rowsOf({ lines: [...span(1, 2), ...span(8, 9)], atStart: true }, ALL);
    expect(rowOfLine(rows, 1)).toBe(0);
    expect(rowOfLine(rows, 5)).toBe(2);
    expect(rowOfLine(rows, 9)).toBe(4);
    expect(rowOfLine(rows, 100)).toBe(4);
    expect(rowOfLine(rowsOf(EMPTY_WINDOW, ALL), 1)).toBe(-1);
  });
});
