import { describe, expect, it } from 'vitest';

import { markHits, parseAnsi, plainText } from './ansi';

describe('parseAnsi', () => {
  it('gives colours and styles, and resets them', () => {
    expect(parseAnsi('\x1b[1;31mred\x1b[0m plain')).toEqual([
      { text: 'red', style: { bold: true, color: 1 } },
      { text: ' plain', style: {} },
    ]);
  });

  it('knows bright, indexed and true colours', () => {
    const [bright, indexed, exact] = parseAnsi('\x1b[92ma\x1b[38;5;208mb\x1b[48;2;1;2;300mc');
    expect(bright?.style.color).toBe(10);
    expect(indexed?.style.color).toBe('rgb(255, 135, 0)');
    expect(exact?.style.background).toBe('rgb(1, 2, 255)');
  });

  it('drops what moves a cursor, titles and control characters', () => {
    expect(plainText('\x1b[2K\x1b[1Ga\x1b]0;title\x07b\x08\x07c\x1b[?25l')).toBe('abc');
    expect(plainText('\x1b[31')).toBe('31');
  });

  it('leaves markup as text', () => {
    expect(parseAnsi('<img src=x onerror=alert(1)>')).toEqual([
      { text: '<img src=x onerror=alert(1)>', style: {} },
    ]);
  });

  it('takes no colour from a style sheet', () => {
    const [found] = parseAnsi('\x1b[38;2;1;url(x);3mtext');
    expect(JSON.stringify(found?.style ?? {})).not.toContain('url');
  });
});

describe('markHits', () => {
  it('marks across colours without changing the text', () => {
    const marked = markHits(parseAnsi('ab\x1b[31mcd\x1b[0mef BCDE'), 'bcde');
    expect(marked.map((segment) => segment.text).join('')).toBe('abcdef BCDE');
    expect(marked.filter((segment) => segment.hit === 0).map((segment) => segment.text)).toEqual([
      'b',
      'cd',
      'e',
    ]);
    expect(marked.filter((segment) => segment.hit === 1).map((segment) => segment.text)).toEqual(['BCDE']);
  });
});
