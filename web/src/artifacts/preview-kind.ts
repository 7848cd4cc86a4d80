/** How a file can be shown without ever being executed. */

export type PreviewKind = 'image' | 'table' | 'json' | 'text' | 'none';

const IMAGES = new Set(['png', 'jpg', 'jpeg', 'gif', 'webp', 'bmp', 'ico', 'avif']);
const TABLES = new Set(['csv', 'tsv']);
const BINARY = new Set(
  ['pkl', 'pickle', 'joblib', 'npy', 'npz', 'pt', 'pth', 'ckpt', 'h5', 'hdf5', 'onnx', 'bin', 'so', 'zip', 'gz', 'zst', 'xz']
    .concat(['tar', 'parquet', 'arrow', 'feather', 'safetensors', 'pb', 'db', 'whl', 'mp4', 'wav', 'mp3', 'pdf']),
);

/** SVG and HTML are text: an `<img>` or a document of theirs could hold more than a picture. */
export function previewKind(path: string): PreviewKind {
  const extension = path.slice(path.lastIndexOf('.') + 1).toLowerCase();
  if (IMAGES.has(extension)) return 'image';
  if (TABLES.has(extension)) return 'table';
  if (extension === 'json') return 'json';
  return BINARY.has(extension) || path.includes('tfevents') ? 'none' : 'text';
}

/** Whether bytes are text, so that nobody has to look at a screen of noise. */
export function looksLikeText(text: string): boolean {
  const sample = text.slice(0, 4096);
  // eslint-disable-next-line no-control-regex
  const odd = sample.match(/[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]/g)?.length ?? 0;
  return odd <= sample.length / 50;
}

/** Rows of a table with quoted cells (RFC 4180). A last row that was cut off is left out. */
export function parseTable(text: string, separator: string, whole: boolean): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  while (at < text.length) {
    const [value, end] = text[at] === '"' ? quotedCell(text, at) : plainCell(text, at, separator);
    row.push(value);
    at = end + 1;
    if (text[end] === separator) {
      if (at === text.length) row.push('');
      continue;
    }
    if (text[end] === '\r' && text[at] === '\n') at += 1;
    if ((end < text.length || whole) && (row.length > 1 || value !== '')) rows.push(row);
    row = [];
  }
  if (row.length > 0 && whole) rows.push(row);
  return rows;
}

/** A cell's text, and where it ended: at a separator, a line end or the end of the text. */
function plainCell(text: string, from: number, separator: string): [string, number] {
  let end = from;
  while (end < text.length && text[end] !== separator && text[end] !== '\n' && text[end] !== '\r') end += 1;
  return [text.slice(from, end), end];
}

function quotedCell(text: string, from: number): [string, number] {
  let end = from + 1;
  while (end < text.length && !(text[end] === '"' && text[end + 1] !== '"')) end += text[end] === '"' ? 2 : 1;
  return [text.slice(from + 1, end).replaceAll('""', '"'), Math.min(end + 1, text.length)];
}

/** JSON with line breaks; a text that is not whole stays as it is. */
export function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
