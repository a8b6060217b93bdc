import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { Store, applyDelta, thin } from '../src/store.js';

const curve = (id, n) => ({ id, x: range(n), epoch: range(n), loss: range(n), accuracy: range(n), calibrated: [] });
const range = (n) => Array.from({ length: n }, (_, i) => i + 1);
const state = (n) => ({ status: 'running', curves: [curve('val', n)], steps: { x: [], loss: [] } });

test('a growing curve gets its new points only once', () => {
  const more = { from: 2, x: [3], epoch: [3], loss: [0.5], accuracy: [0.7], calibrated: [] };
  const once = applyDelta(state(2), { set: { status: 'finished' }, grow: { val: more } });
  assert.deepEqual(once.curves[0].loss, [1, 2, 0.5]);
  assert.equal(once.status, 'finished');
  assert.deepEqual(applyDelta(once, { set: {}, grow: { val: more } }).curves[0].loss, [1, 2, 0.5]);
});

test('the deltas that Python makes give the state that Python has', async () => {
  const cases = JSON.parse(await readFile(new URL('deltas.json', import.meta.url)));
  assert.ok(cases.length > 2);
  for (const { before, change, after } of cases) assert.deepEqual(applyDelta(before, change), after);
});

test('thinning keeps the extremes, the last point and the first value that is not finite', () => {
  const x = range(10000);
  const y = x.map((v) => Math.sin(v / 700));
  y[4321] = 9;
  y[7777] = NaN;
  const { x: tx, loss } = thin(x, y, 300);
  assert.ok(tx.length <= 400);
  assert.ok(loss.includes(9));
  assert.ok(loss.some(Number.isNaN));
  assert.equal(tx.at(-1), 10000);
});

test('live steps arrive as binary, with NaN kept apart from missing', () => {
  const store = new Store(state(1));
  const heard = [];
  store.listeners.add((what) => heard.push(what));
  const bytes = (values) => new DataView(new Float32Array(values).buffer);
  store.receive({ t: 'live', progress: { epoch: 1 } }, [bytes([0.25, 0.5]), bytes([2, NaN])]);
  assert.deepEqual(store.steps.x, [0.25, 0.5]);
  assert.ok(Number.isNaN(store.steps.loss[1]));
  store.receive({ t: 'ack' }, []);
  assert.ok(store.acknowledged);
  assert.deepEqual(heard, ['live', 'ack']);
});

test('a long run does not grow without end in the page', () => {
  const store = new Store(state(1));
  for (let i = 0; i < 30; i++) store.append(range(1000).map((v) => i + v / 1000), range(1000));
  assert.ok(store.steps.x.length <= 7000);
});
