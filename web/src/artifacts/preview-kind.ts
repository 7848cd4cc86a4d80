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
  const cell = /("(?:[^"]|"")*"?|[^"\n\r][^\n\r]*?|)(SEP|\r\n|\n|\r|$)/.source;
  const mark = separator === '\t' ? '\\t' : separator;
  const pattern = new RegExp(cell.replace('SEP', mark).replace('[^"\\n\\r][^\\n\\r]*?', `[^"${mark}\\n\\r][^${mark}\\n\\r]*`), 'y');
  for (;;) {
    const found = pattern.exec(text);
    if (found === null) break;
    const [, value = '', end] = found;
    row.push(value.startsWith('"') ? value.slice(1).replace(/"$/, '').replaceAll('""', '"') : value);
    if (end === separator) continue;
    const last = end === '';
    if ((!last || whole) && !(row.length === 1 && row[0] === '')) rows.push(row);
    row = [];
    if (last) break;
  }
  return rows;
}

/** JSON with line breaks; a text that is not whole stays as it is. */
export function prettyJson(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
