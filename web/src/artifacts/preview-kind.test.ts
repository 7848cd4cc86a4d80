import { describe, expect, it } from 'vitest';

import { looksLikeText, parseTable, prettyJson, previewKind } from './preview-kind';

describe('previewKind', () => {
  it.each([
    ['plots/loss.PNG', 'image'],
    ['report.html', 'text'],
    ['figure.svg', 'text'],
    ['rows.csv', 'table'],
    ['config.json', 'json'],
    ['model/MLmodel', 'text'],
    ['model.pkl', 'none'],
    ['events.out.tfevents.1.host', 'none'],
  ])('%s is shown as %s', (path, kind) => {
    expect(previewKind(path)).toBe(kind);
  });
});

describe('parseTable', () => {
  it('reads quoted cells', () => {
    expect(parseTable('a,b\r\n"x, ""y""","line\nbreak"\n1,\n', ',', true)).toEqual([
      ['a', 'b'],
      ['x, "y"', 'line\nbreak'],
      ['1', ''],
    ]);
  });

  it('reads tabs, and commas within them', () => {
    expect(parseTable('a\tb,c\n1\t2', '\t', true)).toEqual([
      ['a', 'b,c'],
      ['1', '2'],
    ]);
  });

  it('leaves a row out that was cut off', () => {
    expect(parseTable('a,b\n1,2\n3', ',', false)).toEqual([
      ['a', 'b'],
      ['1', '2'],
    ]);
  });

  it('ends on anything', () => {
    for (const text of ['', '\n\n', '"', '"open', 'a"b,c"d\n', '""x,1\n']) {
      expect(parseTable(text, ',', true).length).toBeLessThanOrEqual(2);
    }
  });
});

it('bytes that are not text are known', () => {
  expect(looksLikeText('plain text with ümläuts\n')).toBe(true);
  expect(looksLikeText('\x00\x01\x02\x03PK')).toBe(false);
});

it('broken JSON stays as it is', () => {
  expect(prettyJson('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(prettyJson('{"a":')).toBe('{"a":');
});
