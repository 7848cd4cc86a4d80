import { describe, expect, it } from 'vitest';

import { parseMediaTable, shownCell } from './table';

describe('a table of media', () => {
  it('is read by columns and rows', () => {
    const found = parseMediaTable('{"columns": ["a", 1], "data": [[1, "<b>"], [null, {"x": 2}]]}');
    expect(found?.columns).toEqual(['a', '1']);
    expect(found?.rows.map((row) => row.map(shownCell))).toEqual([
      ['1', '<b>'],
      ['', '{"x":2}'],
    ]);
  });

  it('is none where the bytes are something else', () => {
    for (const text of ['', '[]', '{"columns": 1}', '{"columns": [], "data": [1]}', '{"columns": [NaN]}', 'null']) {
      expect(parseMediaTable(text)).toBeNull();
    }
  });
});
