/** A table of media as the page shows it. Pure. */

export interface MediaTable {
  columns: string[];
  rows: unknown[][];
}

/** Read `{"columns": […], "data": [[…], …]}`; null: it is none. */
export function parseMediaTable(text: string): MediaTable | null {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof found !== 'object' || found === null) return null;
  const { columns, data } = found as { columns?: unknown; data?: unknown };
  if (!Array.isArray(columns) || !Array.isArray(data) || !data.every(Array.isArray)) return null;
  return { columns: columns.map(String), rows: data as unknown[][] };
}

/** A cell as text; what is not there is empty. */
export function shownCell(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
