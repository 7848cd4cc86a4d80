/** What the page reads out of a run's spec, which is plain data. */

const LIMITS: readonly (readonly [string, string])[] = [
  ['cpu', 'CPU'],
  ['memory', 'Memory'],
  ['gpu', 'GPU'],
];

/** The command as one text, or null. */
export function commandOf(spec: Record<string, unknown>): string | null {
  const command = spec['command'];
  if (typeof command === 'string') return command;
  if (!Array.isArray(command)) return null;
  return command.map((part) => quoted(String(part))).join(' ');
}

function quoted(part: string): string {
  return /^[\w@%+=:,./-]+$/.test(part) ? part : `'${part.replaceAll("'", `'\\''`)}'`;
}

/** Resources, timeout and retries that were asked for. */
export function limitsOf(spec: Record<string, unknown>): [string, string][] {
  const resources = recordOf(spec['resources']);
  const found: [string, string][] = LIMITS.flatMap(([key, label]) => pair(label, resources[key]));
  return [...found, ...pair('Timeout', spec['timeout']), ...pair('Retries', spec['retries'])];
}

/** Variables that the spec sets. */
export function variablesOf(spec: Record<string, unknown>): Record<string, string> {
  const found = Object.entries(recordOf(spec['env']));
  return Object.fromEntries(found.map(([key, value]) => [key, String(value)]));
}

function pair(label: string, value: unknown): [string, string][] {
  return value === undefined || value === null ? [] : [[label, String(value)]];
}

function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
