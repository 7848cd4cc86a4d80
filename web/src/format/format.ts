/** Numbers, sizes and times as people read them. */
import type { WireNumber } from '../api/types';

/** The number that a wire value stands for. */
export function numberOf(value: WireNumber): number {
  return typeof value === 'number' ? value : Number(value);
}

/** A value in at most six significant digits; odd ones by name. */
export function shownNumber(value: WireNumber | null | undefined): string {
  if (value === null || value === undefined) return '–';
  const number = numberOf(value);
  if (Number.isNaN(number)) return 'NaN';
  if (!Number.isFinite(number)) return number > 0 ? '∞' : '−∞';
  if (number === 0) return '0';
  const size = Math.abs(number);
  if (Number.isInteger(number) && size < 1e9) return grouped(number);
  if (size >= 1e6 || size < 1e-4) return trimmedExponent(number);
  return String(Number(number.toPrecision(6))).replace('-', '−');
}

function trimmedExponent(number: number): string {
  const [digits = '', power = ''] = number.toExponential(3).split('e');
  return `${Number(digits)}e${power.replace('+', '')}`.replaceAll('-', '−');
}

/** The numbers along an axis: in as few digits as tell each from the next. */
export function shownTicks(ticks: readonly number[]): string[] {
  const short = ticks.map(shownNumber);
  if (new Set(short).size === new Set(ticks).size) return short;
  return ticks.map((tick) => (Number.isInteger(tick) ? grouped(tick) : String(tick).replaceAll('-', '−')));
}

/** An integer with thin spaces between thousands. */
export function grouped(number: number): string {
  const text = String(Math.abs(Math.trunc(number)));
  const parts = text.replace(/\B(?=(\d{3})+(?!\d))/g, ' ');
  return number < 0 ? `−${parts}` : parts;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function shownBytes(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return '–';
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function shownDuration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 0) return `−${shownDuration(-seconds)}`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${pad(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${pad(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function pad(number: number): string {
  return String(number).padStart(2, '0');
}

/** Nanoseconds since 1970 as a date; what lies below a microsecond is lost. */
export function dateOf(timeNs: number): Date {
  return new Date(timeNs / 1e6);
}

/** `2026-03-01 14:05:09`, local. */
export function shownTime(timeNs: number | null | undefined): string {
  if (timeNs === null || timeNs === undefined) return '–';
  const date = dateOf(timeNs);
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${clock(date)}`;
}

/** The time of day on an axis whose ticks are `stepS` seconds apart; the date where days count, minutes where milliseconds do. */
export function shownTick(seconds: number, stepS: number): string {
  const date = new Date(Math.round(seconds * 1000));
  const midnight = date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (stepS >= 86_400 || (midnight && stepS >= 60)) return `${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  if (stepS >= 60) return clock(date).slice(0, 5);
  return stepS >= 1 ? clock(date) : fineClock(date).slice(3);
}

/** `14:05:09.123`, local. */
export function shownClock(timeNs: number): string {
  return fineClock(dateOf(timeNs));
}

function fineClock(date: Date): string {
  return `${clock(date)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

function clock(date: Date): string {
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** `3 min ago`. */
export function shownAge(timeNs: number | null | undefined, nowMs: number): string {
  if (timeNs === null || timeNs === undefined) return '–';
  const seconds = Math.max(0, (nowMs - timeNs / 1e6) / 1000);
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

const naturally = new Intl.Collator('en', { numeric: true });

/** Names as people count them: `layer2` before `layer10`. */
export function inNaturalOrder(names: Iterable<string>): string[] {
  return [...names].sort((a, b) => naturally.compare(a, b) || (a < b ? -1 : 1));
}

/** `1 file`, `3 files`. */
export function counted(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** What a commit or digest is called in conversation. */
export function short(digest: string): string {
  return digest.slice(0, 12);
}
