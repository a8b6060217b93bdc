import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csv, epochTable, fileName, report, sampleTable } from '../src/files.js';
import { takeRows } from '../src/samples.js';

test('file names come from the run, whatever it is called', () => {
  assert.equal(fileName('baseline/2', 'curves.svg'), 'baseline-2-curves.svg');
  assert.equal(fileName('<i>قطة</i> & more', 'report.md'), 'i-قطة-i-more-report.md');
  assert.equal(fileName('../..', 'epochs.csv'), 'run-epochs.csv');
});

test('cells are quoted where they must be, and no name becomes a formula', () => {
  const columns = { id: [1, 2], name: ['a,"b"', '=HYPERLINK("x")'], loss: ['nan', -0.5], causes: [['x', 'y'], []] };
  assert.equal(csv(columns), 'id,name,loss,causes\n1,"a,""b""",NaN,x y\n2,"\'=HYPERLINK(""x"")",-0.5,\n');
});

test('the table of epochs has a row per pass', () => {
  const curve = { id: 'val', epoch: [1, 2], loss: [0.5, 'inf'], accuracy: [0.6, 0.7], calibrated: [] };
  const lines = epochTable({ curves: [curve] }).trim().split('\n');
  assert.deepEqual(lines, ['epoch,split,loss_nats,calibrated_loss_nats,accuracy', '1,val,0.5,NaN,0.6', '2,val,Infinity,NaN,0.7']);
});

test('samples: all of them where their rows are here, else those of the card', () => {
  const card = { split: 'val', start: 1, end: 2, samples: { columns: { id: [7], target: [0], predicted: [1] } } };
  const state = { classes: ['cat'] };
  assert.equal(sampleTable('run', card, state), 'id,target,predicted,target_name,predicted_name\n7,0,1,cat,1\n');
  assert.equal(sampleTable('run', { id: 'run' }, state), null);
  const columns = [['id', '<f8'], ['target', '<i4'], ['predicted', '<i4'], ['nll', '<f4'], ['confidence', '<f4'], ['correct', '<f4']];
  for (const [epoch, correct] of [[1, [0, 1]], [2, [1, 1]]]) {
    const buffers = [Float64Array.of(7, 8), Int32Array.of(0, 0), Int32Array.of(0, 1), Float32Array.of(epoch, 2), Float32Array.of(0.5, 0.5), Float32Array.from(correct)];
    takeRows('run', { split: 'val', epoch, columns }, buffers.map((b) => new DataView(b.buffer)));
  }
  const lines = sampleTable('run', card, state).trim().split('\n');
  assert.equal(lines[0], 'id,group,target,predicted_start,predicted,nll_start,nll,nll_change,confidence_start,confidence,target_name,predicted_name');
  assert.equal(lines[1], '7,became_right,0,0,0,1,2,1,0.5,0.5,cat,cat');
  assert.equal(lines[2], '8,stayed_right,0,1,1,2,2,0,0.5,0.5,cat,1');
});

test('the report says what the panel says', () => {
  const cause = { title: 'Over-confidence', verdict: 'supported', word: 'supported', statement: 'It is.', evidence: [{ supports: true, name: 'T', value: '2', threshold: '> 1' }], action: 'Divide.', experiment: { prediction: 'Less.', result: '', code: 'z / 2' } };
  const state = {
    run: { name: 'a' }, status_line: 'Finished', headline: { text: 'Loss rises.' }, advice: null, non_finite: [], marks: [{ text: 'lowest loss 1' }],
    cards: [{ title: 'Both rise', lead: 'Why.', facts: [['loss', '+1 nats', '95 %: 0 to 2']], causes: [cause] }], limits: ['Something is missing.'],
  };
  const text = report(state);
  for (const part of ['# a\n', '**Loss rises.**', '- lowest loss 1', '## Both rise', '- loss: +1 nats (95 %: 0 to 2)', '### Over-confidence (supported)', '```python\nz / 2\n```', '| for | T | 2 | > 1 |', '- Something is missing.']) assert.ok(text.includes(part), part);
});
