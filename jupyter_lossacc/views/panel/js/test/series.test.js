import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crosses, goesOn, nearestEpoch, seriesOf, splitFinite, valueAt, xRange, yRange } from '../src/series.js';

test('a value that is not finite becomes a mark at the last finite one', () => {
  const { y, broken } = splitFinite([1, 2, 3, 4, 5], [1.5, 'nan', 'nan', 0.5, 'inf']);
  assert.deepEqual(y, [1.5, null, null, 0.5, null]);
  assert.deepEqual(broken.map((b) => [b.x, b.y, b.value]), [[2, 1.5, NaN], [5, 0.5, Infinity]]);
});

test('nothing finite before it: the mark stands at the first finite value', () => {
  assert.equal(splitFinite([1, 2], ['nan', 3]).broken[0].y, 3);
  assert.equal(splitFinite([1], ['nan']).broken[0].y, null);
});

test('the epoch axis moves in whole epochs', () => {
  assert.deepEqual(xRange([{ x: [0.2, 3.4] }]), [0, 4]);
  assert.deepEqual(xRange([{ x: [1] }]), [0.5, 1.5]);
  assert.deepEqual(xRange([{ x: [] }]), [0, 1]);
});

test('one wild batch does not flatten the curves', () => {
  const epochs = { x: [1, 2], y: [1, 2] };
  const batches = { x: [0.5, 1.5], y: [1.2, 500], thin: true };
  assert.deepEqual(yRange([epochs, batches], [0, 2]), [1, 2.5]);
});

test('a reference line is worth the room when it is near', () => {
  const epochs = { x: [1, 2], y: [1, 2] };
  assert.deepEqual(yRange([epochs], [0, 2], [2.3]), [1, 2.3]);
  assert.deepEqual(yRange([epochs], [0, 2], [20]), [1, 2]);
});

test('the read-out gives the last value at or before an epoch', () => {
  const s = { x: [1, 5], values: [0.5, 'nan'], epoch: true };
  assert.equal(valueAt(s, 4), 0.5);
  assert.ok(Number.isNaN(valueAt(s, 9)));
  assert.equal(valueAt(s, 0), null);
  assert.equal(valueAt({ x: [1, 5], values: [0.5, null] }, 9), 0.5); // not taken there
  assert.equal(nearestEpoch([s], 2.4), 1);
});

test('calibrated loss and overlay are lines of their own; the accuracy chart has neither', () => {
  const state = { curves: [{ id: 'val', label: 'validation', x: [1], loss: [1], accuracy: [0.5], calibrated: [0.9] }] };
  const overlay = { label: 'without it', x: [1], y: [0.8] };
  assert.deepEqual(seriesOf(state, { x: [1], loss: [2] }, 'loss', overlay).map((s) => s.key), ['steps', 'val', 'val-calibrated', 'overlay']);
  assert.deepEqual(seriesOf(state, { x: [1], loss: [2] }, 'accuracy', overlay).map((s) => s.key), ['val']);
});

test('a label finds out whether a curve passes through its place, between its points too', () => {
  const plot = { left: (v) => 10 * v, top: (v) => 100 - v };
  const box = { left: 20, right: 40, top: 40, bottom: 60 };
  assert.ok(crosses({ x: [0, 10], y: [0, 100] }, plot, { ...box, top: 60, bottom: 80 }));
  assert.ok(!crosses({ x: [0, 10], y: [0, 100] }, plot, { ...box, top: 10, bottom: 50 }));
  assert.ok(crosses({ x: [3], y: [50] }, plot, box));
  assert.ok(!crosses({ x: [0, 10], y: [null, 50] }, plot, box)); // it begins right of the box
  assert.ok(!crosses({ x: [5, 10], y: [50, 50] }, plot, box));
});

test('a band that is open at its end goes on to the newest point of its split, and no other', () => {
  const curves = [{ id: 'train', x: [1, 2, 3, 4, 5] }, { id: 'val', x: [1, 2, 3, 4] }];
  assert.equal(goesOn({ open: true, split: 'val', end: 3 }, curves), 4);
  assert.equal(goesOn({ open: true, split: 'val', end: 4 }, curves), null);
  assert.equal(goesOn({ open: false, split: 'val', end: 3 }, curves), null);
  assert.equal(goesOn({ open: true, split: 'test', end: 3 }, curves), null);
});
