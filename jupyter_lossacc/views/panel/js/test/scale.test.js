import assert from 'node:assert/strict';
import { test } from 'node:test';
import { linearTicks, logTicks, perPixel } from '../src/scale.js';

test('ticks are round and lie within the axis', () => {
  assert.deepEqual(linearTicks(0, 1.7, 5), [0, 0.5, 1, 1.5]);
  assert.deepEqual(linearTicks(0.31, 0.34, 4), [0.31, 0.32, 0.33, 0.34]);
  assert.deepEqual(linearTicks(-3, 3, 4), [-2, 0, 2]);
  assert.deepEqual(linearTicks(0.08, 0.95, 4), [0.25, 0.5, 0.75]);
  assert.deepEqual(linearTicks(1, 1, 4), []);
});

test('there is no half epoch', () => {
  for (const [low, high] of [[0, 1], [0, 3], [2.2, 4.9], [0, 1000], [0.5, 1.5]]) {
    const ticks = linearTicks(low, high, 20, true);
    assert.ok(ticks.every(Number.isInteger), String(ticks));
    assert.ok(ticks.length > 0 && ticks.length <= 21);
  }
});

test('a logarithmic axis has ticks over many decades and within one', () => {
  assert.deepEqual(logTicks(0.08, 3, 6), [0.1, 0.2, 0.5, 1, 2]);
  assert.deepEqual(logTicks(1e-6, 1, 4), [1e-6, 1e-4, 1e-2, 1]);
  assert.ok(logTicks(0.5, 0.7, 5).length >= 2);
});

test('thinning by pixel keeps every extreme, both ends and gaps', () => {
  const n = 10_000;
  const px = Array.from({ length: n }, (_, i) => (i / n) * 100);
  const y = px.map((v, i) => Math.sin(i / 300));
  y[4321] = 9;
  y[7777] = null;
  const keep = perPixel(px, y);
  assert.ok(keep.length <= 500);
  assert.ok(keep.includes(4321) && keep.includes(7777) && keep.includes(0) && keep.includes(n - 1));
  assert.deepEqual(keep, [...keep].sort((a, b) => a - b));
});
