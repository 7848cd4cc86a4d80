import { expect, test } from 'vitest';

import { commandOf, taskNamesOf } from './spec';

test('the tasks of a run stand in the order of the server', () => {
  const tasks = { ps: {}, worker: { replicas: 2 }, chief: { replicas: 1 } };
  expect(taskNamesOf({ tasks })).toEqual(['chief-0', 'worker-0', 'worker-1', 'ps-0']);
  expect(taskNamesOf({ command: 'true' })).toEqual([]);
});

test('the command of several tasks is a line for each role', () => {
  const tasks = { worker: { replicas: 2, command: ['python', 'a b'] }, ps: { command: 'serve' } };
  expect(commandOf({ tasks })).toBe("worker × 2: python 'a b'\nps × 1: serve");
  expect(commandOf({ command: 'python train.py' })).toBe('python train.py');
});
