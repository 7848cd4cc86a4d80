import { expect, it } from 'vitest';

import { pageOf } from './old-addresses';

const RUN = '01a20a7719b77b10a546276364414ee3';

it.each([
  [`#/experiments/1/runs/${RUN}`, `/runs/${RUN}`],
  [`#/experiments/1/runs/${RUN}/artifacts`, `/runs/${RUN}`],
  ['#/experiments/7', '/runs?experiment=7'],
  ['#/models', '/runs'],
  ['', '/runs'],
])('%s leads to %s', (hash, page) => {
  expect(pageOf(hash)).toBe(page);
});
