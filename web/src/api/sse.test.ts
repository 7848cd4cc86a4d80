import { expect, it } from 'vitest';

import { EventSplitter } from './sse';

it('puts events together that arrive in pieces', () => {
  const splitter = new EventSplitter();
  expect(splitter.push('id: 1\ndata: {"a"')).toEqual([]);
  expect(splitter.push(':1}\n\n: still there\n\nda')).toEqual(['{"a":1}']);
  expect(splitter.push('ta: x\ndata: y\n\n')).toEqual(['x\ny']);
});

it('reads line ends of both kinds, also when they are cut in two', () => {
  const splitter = new EventSplitter();
  expect(splitter.push('data: 1\r\n\r')).toEqual([]);
  expect(splitter.push('\ndata: 2\r\n\r\n')).toEqual(['1', '2']);
});
