/**
 * The colours of terminals, as data. What comes out is text and class names; it is rendered as
 * React children and never as markup, so nothing a script prints can become part of the page.
 */

export interface Style {
  /** 0..15 from the palette, or `rgb(…)`. */
  color?: number | string;
  background?: number | string;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  underline?: boolean;
  inverse?: boolean;
}

export interface Segment {
  text: string;
  style: Style;
  /** Which hit of a search this is part of. */
  hit?: number;
}

// CSI … final byte; OSC … BEL or ST; other two-byte escapes; then single control characters.
const ESCAPE =
  // eslint-disable-next-line no-control-regex
  /\x1b\[([0-9;:?<=>]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f]/g;

/** Split a line at its escapes. Escapes that do not colour are dropped. */
export function parseAnsi(line: string): Segment[] {
  if (!ESCAPE.test(line)) return line === '' ? [] : [{ text: line, style: {} }];
  const segments: Segment[] = [];
  let style: Style = {};
  let begin = 0;
  ESCAPE.lastIndex = 0;
  for (const found of line.matchAll(ESCAPE)) {
    if (found.index > begin) segments.push({ text: line.slice(begin, found.index), style });
    if (found[2] === 'm') style = restyled(style, found[1] ?? '');
    begin = found.index + found[0].length;
  }
  if (begin < line.length) segments.push({ text: line.slice(begin), style });
  return segments;
}

/** A line as a person reads it. */
export function plainText(line: string): string {
  return line.replace(ESCAPE, '');
}

function restyled(old: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((part) => (part === '' ? 0 : Number(part)));
  let style = { ...old };
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 38 || code === 48) {
      const [color, taken] = extended(codes.slice(at + 1));
      at += taken;
      if (color !== undefined) style[code === 38 ? 'color' : 'background'] = color;
    } else {
      style = applied(style, code);
    }
  }
  return style;
}

function applied(style: Style, code: number): Style {
  if (code === 0) return {};
  if (code >= 30 && code <= 37) return { ...style, color: code - 30 };
  if (code >= 90 && code <= 97) return { ...style, color: code - 82 };
  if (code >= 40 && code <= 47) return { ...style, background: code - 40 };
  if (code >= 100 && code <= 107) return { ...style, background: code - 92 };
  switch (code) {
    case 1:
      return { ...style, bold: true };
    case 2:
      return { ...style, dim: true };
    case 3:
      return { ...style, italic: true };
    case 4:
      return { ...style, underline: true };
    case 7:
      return { ...style, inverse: true };
    case 22:
      return without(style, 'bold', 'dim');
    case 23:
      return without(style, 'italic');
    case 24:
      return without(style, 'underline');
    case 27:
      return without(style, 'inverse');
    case 39:
      return without(style, 'color');
    case 49:
      return without(style, 'background');
    default:
      return style;
  }
}

function without(style: Style, ...names: (keyof Style)[]): Style {
  const rest = { ...style };
  for (const name of names) delete rest[name];
  return rest;
}

/** `5;n` or `2;r;g;b`; returns the colour and how many codes it took. */
function extended(codes: readonly number[]): [number | string | undefined, number] {
  if (codes[0] === 5) return [indexed(codes[1] ?? 0), 2];
  if (codes[0] === 2) {
    const [red, green, blue] = [codes[1], codes[2], codes[3]].map((part) => byte(part ?? 0));
    return [`rgb(${red}, ${green}, ${blue})`, 4];
  }
  return [undefined, 0];
}

function byte(value: number): number {
  return Number.isFinite(value) ? Math.min(255, Math.max(0, Math.trunc(value))) : 0;
}

const CUBE = [0, 95, 135, 175, 215, 255];

function indexed(raw: number): number | string {
  const index = byte(raw);
  if (index < 16) return index;
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey}, ${grey}, ${grey})`;
  }
  const cube = index - 16;
  const part = (divisor: number) => CUBE[Math.floor(cube / divisor) % 6] ?? 0;
  return `rgb(${part(36)}, ${part(6)}, ${part(1)})`;
}

/** Mark what a search finds; the text stays the same. */
export function markHits(segments: readonly Segment[], needle: string): Segment[] {
  if (needle === '') return [...segments];
  const whole = segments.map((segment) => segment.text).join('').toLowerCase();
  const wanted = needle.toLowerCase();
  const starts: number[] = [];
  for (let at = whole.indexOf(wanted); at !== -1; at = whole.indexOf(wanted, at + wanted.length)) {
    starts.push(at);
  }
  if (starts.length === 0) return [...segments];
  return cutAt(segments, starts, wanted.length);
}

function cutAt(segments: readonly Segment[], starts: readonly number[], length: number): Segment[] {
  const cuts = starts.flatMap((start) => [start, start + length]);
  const out: Segment[] = [];
  let offset = 0;
  for (const { text, style } of segments) {
    const inside = cuts.filter((cut) => cut > offset && cut < offset + text.length);
    const edges = [offset, ...inside, offset + text.length];
    for (let at = 0; at + 1 < edges.length; at += 1) {
      const [from, to] = [edges[at] ?? 0, edges[at + 1] ?? 0];
      const hit = starts.findIndex((start) => start <= from && from < start + length);
      const piece = { text: text.slice(from - offset, to - offset), style };
      out.push(hit === -1 ? piece : { ...piece, hit });
    }
    offset += text.length;
  }
  return out;
}
