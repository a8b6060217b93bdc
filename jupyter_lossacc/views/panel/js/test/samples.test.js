import assert from 'node:assert/strict';
import { test } from 'node:test';
import { order } from '../src/table.js';
import { join, rowsOf, takeRows } from '../src/samples.js';

const KINDS = { id: ['<f8', Float64Array], target: ['<i4', Int32Array], predicted: ['<i4', Int32Array], nll: ['<f4', Float32Array], confidence: ['<f4', Float32Array], correct: ['<f4', Float32Array] };

/** What the kernel sends for one pass; the numbers lie somewhere inside a larger buffer, as they do there. */
function message(epoch, columns) {
  const names = Object.keys(columns);
  const buffers = names.map((name) => {
    const bytes = new Uint8Array(KINDS[name][1].from(columns[name]).buffer);
    const larger = new Uint8Array(bytes.length + 5);
    larger.set(bytes, 5);
    return new DataView(larger.buffer, 5);
  });
  return [{ split: 'val', epoch, n: columns.id.length, columns: names.map((name) => [name, KINDS[name][0]]) }, buffers];
}

const early = { id: [1, 2, 3, 5], target: [0, 1, 1, 0], predicted: [0, 0, 1, 1], nll: [1, 2, 0.5, 3], confidence: [0.5, 0.6, 0.7, 0.8], correct: [1, 0, 1, 0] };
const late = { id: [2, 3, 4, 5], target: [1, 1, 0, 0], predicted: [1, 0, 0, 1], nll: [0.25, 4, 1, 6], confidence: [0.9, 0.9, 0.9, 0.9], correct: [1, 0, 1, 0] };

test('two passes are joined on the samples that both contain', () => {
  const made = join(takeRows('a', ...message(1, early)), takeRows('a', ...message(9, late)));
  assert.deepEqual([...made.id], [2, 3, 5]);
  assert.deepEqual([...made.nll_change], [-1.75, 3.5, 3]);
  assert.deepEqual([...made.group], [1, 2, 3]);
  assert.deepEqual(made.counts, [0, 1, 1, 1]);
  assert.deepEqual([...made.predicted_start], [0, 1, 1]);
});

test('rows of another run are never shown; a running run may lag behind', () => {
  takeRows('b', ...message(1, early));
  takeRows('b', ...message(4, late));
  const card = { split: 'val', start: 1, end: 6 };
  assert.equal(rowsOf('c', card), null);
  assert.equal(rowsOf('b', card), null);
  assert.equal(rowsOf('b', { ...card, live: true }).end, 4);
  assert.equal(rowsOf('b', { ...card, end: 4 }).n, 3);
});

test('raw numbers sort by size, what is not finite last, equal ones in their order', () => {
  const values = Float32Array.of(2, NaN, -1, 2, Infinity);
  assert.deepEqual(order(values, [0, 1, 2, 3, 4], false), [2, 0, 3, 1, 4]);
  assert.deepEqual(order(values, [0, 1, 2, 3, 4], true), [0, 3, 2, 1, 4]);
});
