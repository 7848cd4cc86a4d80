/** What the page reads out of a run's spec, which is plain data. */

const LIMITS: readonly (readonly [string, string])[] = [
  ['cpu', 'CPU'],
  ['memory', 'Memory'],
  ['gpu', 'GPU'],
];

/** The command as one text, or null; of several tasks a line for each role. */
export function commandOf(spec: Record<string, unknown>): string | null {
  const roles = Object.entries(recordOf(spec['tasks'])).map(([role, task]) => {
    const { replicas, command } = recordOf(task);
    return `${role} × ${replicas ?? 1}: ${shownCommand(command) ?? ''}`;
  });
  return roles.length > 0 ? roles.join('\n') : shownCommand(spec['command']);
}

function shownCommand(command: unknown): string | null {
  if (typeof command === 'string') return command;
  if (!Array.isArray(command)) return null;
  return command.map((part) => quoted(String(part))).join(' ');
}

function quoted(part: string): string {
  return /^[\w@%+=:,./-]+$/.test(part) ? part : `'${part.replaceAll("'", `'\\''`)}'`;
}

const FIRST: readonly string[] = ['master', 'chief'];
const APART: readonly string[] = ['ps', 'evaluator'];

/** Names of the tasks of a distributed run, in the server's order; none: it has one task. */
export function taskNamesOf(spec: Record<string, unknown>): string[] {
  const tasks = recordOf(spec['tasks']);
  const place = (role: string) => (APART.includes(role) ? 2 : 0) + (FIRST.includes(role) ? 0 : 1);
  const roles = Object.keys(tasks).sort((a, b) => place(a) - place(b)); // stable
  return roles.flatMap((role) => {
    const replicas = Number(recordOf(tasks[role])['replicas'] ?? 1);
    return Array.from({ length: replicas }, (_, at) => `${role}-${at}`);
  });
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
