import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { answers, ask, register } from '../src/kernel.js';

function fake({ status = 'idle', reply } = {}) {
  const model = {
    sent: [],
    heard: new Set(),
    widget_manager: { kernel: { status } },
    on: (_, f) => model.heard.add(f),
    off: (_, f) => model.heard.delete(f),
    send(message) {
      model.sent.push(message);
      if (reply) queueMicrotask(() => [...model.heard].forEach((f) => f({ t: 'answer', id: message.id, ...reply }, [])));
    },
  };
  return model;
}

test('an answer comes back, and nobody listens any longer', async () => {
  const model = fake({ reply: { value: 42 } });
  register('a', model);
  assert.equal((await ask('a', { what: 'pair', start: 1 })).value, 42);
  assert.equal(model.sent[0].t, 'ask');
  assert.equal(model.sent[0].run, 'a');
  assert.equal(model.heard.size, 0);
});

test('an error is told', async () => {
  register('b', fake({ reply: { error: 'no such epoch' } }));
  await assert.rejects(ask('b', { what: 'pair' }), /no such epoch/);
});

test('without a kernel there is nobody to ask', async () => {
  await assert.rejects(ask('nobody', {}), /no kernel/);
  const model = fake();
  const forget = register('c', model);
  assert.ok(answers('c'));
  forget();
  assert.ok(!answers('c'));
  register('d', { ...model, comm_live: false });
  assert.ok(!answers('d'));
});

test('a busy kernel is not disturbed', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const model = fake({ status: 'busy', reply: { value: 1 } });
  register('e', model);
  const answer = ask('e', { what: 'pair' });
  for (let i = 0; i < 5; i++) {
    mock.timers.tick(300);
    await Promise.resolve();
    await Promise.resolve();
  }
  assert.equal(model.sent.length, 0);
  model.widget_manager.kernel.status = 'idle';
  mock.timers.tick(300);
  assert.equal((await answer).value, 1);
  mock.timers.reset();
});
