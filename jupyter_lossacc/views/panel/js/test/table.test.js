import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare, order } from '../src/table.js';

test('numbers sort by size, names by the alphabet and their numbers', () => {
  assert.deepEqual(order([10, 2, 33], [0, 1, 2], false), [1, 0, 2]);
  assert.deepEqual(order(['class 10', 'class 9'], [0, 1], false), [1, 0]);
});

test('what is not finite stays last in both directions', () => {
  const values = [1, 'nan', 3];
  assert.deepEqual(order(values, [0, 1, 2], false), [0, 2, 1]);
  assert.deepEqual(order(values, [0, 1, 2], true), [2, 0, 1]);
  assert.equal(compare('nan', 'nan'), 0);
});

test('equal values keep their order', () => {
  assert.deepEqual(order([1, 1, 1], [2, 0, 1], true), [0, 1, 2]);
});
