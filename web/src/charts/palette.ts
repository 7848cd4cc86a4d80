/** Colours of lines: apart from each other, and readable on both themes. */
const COLORS = [
  '#0a9396',
  '#e07a1f',
  '#5b7fd9',
  '#c2417c',
  '#6a9a2d',
  '#9263c9',
  '#c9a227',
  '#2f9fd8',
  '#c65a45',
  '#5c8a84',
];

export function colorOf(index: number): string {
  return COLORS[index % COLORS.length] ?? '#0a9396';
}
