/** The text people type to find runs, and the identifiers the API wants. */

const EXPRESSION = /[=<>]|\b(?:like|ilike|in|is)\b\s*(?:\(|not\b|null\b|'|")/i;
const PLAIN_KEY = /^[A-Za-z_][\w/.:-]*$/;

/** `metrics.loss`, with the key quoted when it must be. */
export function identifier(subject: 'metrics' | 'params' | 'tags', key: string): string {
  return `${subject}.${PLAIN_KEY.test(key) ? key : `\`${key}\``}`;
}

/**
 * Turn what was typed into a filter: an expression stays as it is, plain words look for a run's
 * name.
 */
export function filterOf(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '' || EXPRESSION.test(trimmed)) return trimmed;
  return `name ILIKE '%${trimmed.replaceAll("'", "''")}%'`;
}

/** What a click on a header does: descending first, then ascending, then the usual order. */
export function nextOrder(by: string, current: string | null): string | null {
  if (current === `${by} desc`) return `${by} asc`;
  if (current === `${by} asc`) return null;
  return `${by} desc`;
}

export type Direction = 'ascending' | 'descending' | 'none';

export function directionOf(by: string, current: string | null): Direction {
  if (current === `${by} desc`) return 'descending';
  return current === `${by} asc` ? 'ascending' : 'none';
}
