/**
 * The part of a log that is in the page: a stretch of lines without a hole of our making.
 *
 * A log may have millions of lines, and lines of 64 KiB; the window never has more than
 * `WINDOW_LINES_MAX` lines and `WINDOW_CHARS_MAX` characters. Lines that were lost on the way to the server show as a gap in the numbers and get a row that says so.
 */
import type { LogLine, LogView } from '../api/types';

export const PAGE_LINES = 1000;
export const WINDOW_LINES_MAX = 20_000;
export const WINDOW_CHARS_MAX = 32_000_000;

export interface LogWindow {
  lines: readonly LogLine[];
  /** Number to ask for to go on after the last line. */
  nextLine: number;
  totalLines: number;
  linesMissing: number;
  finished: boolean;
  /** Nothing is before the first line. */
  atStart: boolean;
  /** Nothing is after the last line yet. */
  atEnd: boolean;
}

export const EMPTY_WINDOW: LogWindow = {
  lines: [],
  nextLine: 1,
  totalLines: 0,
  linesMissing: 0,
  finished: false,
  atStart: true,
  atEnd: true,
};

/**
 * Whether nothing follows a page now. Its length says nothing: lines may be missing, and a page of
 * long lines is cut short.
 */
function endsLog(page: LogView): boolean {
  const lastNumber = page.total_lines + page.lines_missing;
  return page.finished || page.lines.length === 0 || page.next_line > lastNumber;
}

/** Begin a window with one page; `tail` says that it was asked for from the end. */
export function windowOf(page: LogView, tail: boolean): LogWindow {
  const first = page.lines[0]?.number ?? 1;
  return {
    lines: page.lines,
    nextLine: page.next_line,
    totalLines: page.total_lines,
    linesMissing: page.lines_missing,
    finished: page.finished,
    atStart: first <= 1 || page.lines.length >= page.total_lines,
    // Lines that came while the tail was read are for following to get.
    atEnd: tail || endsLog(page),
  };
}

/** How many of some lines fit into a window, from the first one on; one always does. */
function fitting(lines: readonly LogLine[]): number {
  let chars = 0;
  for (const [count, line] of lines.entries()) {
    chars += line.text.length;
    if (count >= WINDOW_LINES_MAX || (chars > WINDOW_CHARS_MAX && count > 0)) return count;
  }
  return lines.length;
}

/** Whether a window takes no more without letting go of something. */
export function isFull(window: LogWindow): boolean {
  const chars = window.lines.reduce((sum, line) => sum + line.text.length, 0);
  return window.lines.length >= WINDOW_LINES_MAX || chars >= WINDOW_CHARS_MAX / 2;
}

/**
 * Put a page behind the window. Lines that are there already are not taken twice. `live` says that
 * the page came by following, which goes on by itself.
 */
export function appended(window: LogWindow, page: LogView, live: boolean): LogWindow {
  const last = window.lines.at(-1)?.number ?? 0;
  const fresh = page.lines.filter((line) => line.number > last);
  const lines = [...window.lines, ...fresh];
  const dropped = lines.length - fitting([...lines].reverse());
  return {
    lines: dropped > 0 ? lines.slice(dropped) : lines,
    nextLine: Math.max(window.nextLine, page.next_line),
    totalLines: page.total_lines,
    linesMissing: page.lines_missing,
    finished: page.finished,
    atStart: window.atStart && dropped === 0,
    atEnd: live || endsLog(page),
  };
}

/** Put a page before the window; what falls out at its end can be had again. */
export function prepended(window: LogWindow, page: LogView): LogWindow {
  const first = window.lines[0]?.number ?? Number.MAX_SAFE_INTEGER;
  const earlier = page.lines.filter((line) => line.number < first);
  const lines = [...earlier, ...window.lines];
  const kept = lines.slice(0, fitting(lines));
  const cut = kept.length < lines.length;
  const begin = kept[0]?.number ?? 1;
  return {
    ...window,
    lines: kept,
    nextLine: cut ? (kept.at(-1)?.number ?? 0) + 1 : window.nextLine,
    totalLines: page.total_lines,
    atStart: begin <= 1 || earlier.length === 0,
    atEnd: window.atEnd && !cut,
  };
}

/** Where to begin so that a page ends right before the window. */
export function pageBefore(window: LogWindow, limit: number): { from: number; limit: number } {
  const first = window.lines[0]?.number ?? 1;
  const from = Math.max(1, first - limit);
  return { from, limit: Math.max(1, first - from) };
}

export type LogRow =
  | { kind: 'line'; key: number; line: LogLine; text: string; replaced: number }
  | { kind: 'missing'; key: number; from: number; to: number };

export interface RowOptions {
  /** Show only the last state of lines that a carriage return overwrote. */
  collapse: boolean;
  /** Only this stream; gaps are then not shown, for they cannot be told from other streams. */
  stream: string | null;
}

/** The rows to show for lines. */
export function rowsOf(window: Pick<LogWindow, 'lines' | 'atStart'>, options: RowOptions): LogRow[] {
  const rows = new RowBuilder(options);
  let expected = window.atStart ? 1 : (window.lines[0]?.number ?? 1);
  for (const line of window.lines) {
    if (line.number > expected) rows.gap(expected, line.number - 1);
    rows.line(line);
    expected = line.number + 1;
  }
  return rows.finished();
}

class RowBuilder {
  private readonly rows: (LogRow | null)[] = [];
  /** By stream: where the line stands that the next one of that stream overwrites. */
  private readonly open = new Map<string, number>();

  constructor(private readonly options: RowOptions) {}

  gap(from: number, to: number): void {
    if (this.options.stream === null) this.rows.push({ kind: 'missing', key: -from, from, to });
  }

  line(line: LogLine): void {
    if (this.options.stream !== null && line.stream !== this.options.stream) return;
    const place = this.open.get(line.stream);
    const before = place === undefined ? null : this.rows[place];
    const row = { kind: 'line' as const, key: line.number, line, text: line.text, replaced: 0 };
    if (place !== undefined && before?.kind === 'line') {
      row.replaced = before.replaced + 1;
      if (line.text === '') row.text = before.text; // `\r` then `\n`: what was printed stays
      this.rows[place] = null;
    }
    this.rows.push(row);
    if (this.options.collapse && line.end === '\r') this.open.set(line.stream, this.rows.length - 1);
    else this.open.delete(line.stream);
  }

  finished(): LogRow[] {
    return this.rows.filter((row) => row !== null);
  }
}

/** The index of the row that shows a line, or the nearest after it. */
export function rowOfLine(rows: readonly LogRow[], number: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const row = rows[middle];
    const reaches = row === undefined ? number : row.kind === 'line' ? row.line.number : row.to;
    if (reaches < number) low = middle + 1;
    else high = middle;
  }
  return Math.min(low, rows.length - 1);
}
