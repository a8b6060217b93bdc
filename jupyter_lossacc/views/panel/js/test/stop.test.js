import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { stopper } from '../src/stop.js';

function pressed({ acknowledged = false, kernel, running = true } = {}) {
  const said = [];
  const sent = [];
  const store = { acknowledged: false };
  const model = { send: (m) => sent.push(m), get: () => 'run-1', widget_manager: kernel && { kernel } };
  stopper({ model, store, running: () => running, say: (text) => said.push(text) })();
  store.acknowledged = acknowledged;
  return { said, sent };
}

async function patience() {
  mock.timers.tick(800);
  await new Promise((done) => setImmediate(done));
}

test('Stop sends one message that names the run', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  assert.deepEqual(pressed().sent, [{ t: 'stop', run: 'run-1' }]);
});

test('an answer in time: nothing else happens', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  let interrupted = 0;
  const { said } = pressed({ acknowledged: true, kernel: { status: 'busy', interrupt: async () => interrupted++ } });
  await patience();
  assert.equal(interrupted, 0);
  assert.deepEqual(said, ['Stop asked …']);
  mock.timers.reset();
});

test('no answer: the kernel is interrupted', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  let interrupted = 0;
  pressed({ kernel: { status: 'busy', interrupt: async () => interrupted++ } });
  await patience();
  assert.equal(interrupted, 1);
  mock.timers.reset();
});

test('no answer and no way to interrupt: a hint', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { said } = pressed();
  await patience();
  assert.match(said.at(-1), /Interrupt \(■\)/);
  mock.timers.reset();
});

test('the run ended meanwhile: nothing to interrupt', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  let interrupted = 0;
  pressed({ running: false, kernel: { status: 'busy', interrupt: async () => interrupted++ } });
  await patience();
  assert.equal(interrupted, 0);
  mock.timers.reset();
});
