import { createTheme, type MantineColorsTuple } from '@mantine/core';

const sea: MantineColorsTuple = [
  '#e6f7f9',
  '#d3ecef',
  '#a5d8de',
  '#74c3cc',
  '#4db1bd',
  '#34a6b3',
  '#1f9aa8',
  '#0b8694',
  '#007684',
  '#006371',
];

/** Greys of deep water; the last ones are what the dark page is made of. */
const dark: MantineColorsTuple = [
  '#cdd8dc',
  '#b1bfc5',
  '#8fa0a8',
  '#647881',
  '#3b4e57',
  '#2a3a42',
  '#1c2930',
  '#121c22',
  '#0d161b',
  '#081014',
];

export const theme = createTheme({
  primaryColor: 'sea',
  primaryShade: { light: 8, dark: 6 },
  colors: { sea, dark },
  defaultRadius: 'sm',
  fontFamily:
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", sans-serif',
  fontFamilyMonospace:
    'ui-monospace, "SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: '600' },
  cursorType: 'pointer',
});
