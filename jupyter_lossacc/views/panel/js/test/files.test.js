import assert from 'node:assert/strict';
import { test } from 'node:test';
import { csv, epochTable, fileName, report } from '../src/files.js';

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

test('the report says what the panel says', () => {
  const cause = { title: 'Over-confidence', verdict: 'supported', word: 'supported', statement: 'It is.', evidence: [{ supports: true, name: 'T', value: '2', threshold: '> 1' }], action: 'Divide.', experiment: { prediction: 'Less.', result: '', code: 'z / 2' } };
  const state = {
    run: { name: 'a' }, status_line: 'Finished', headline: { text: 'Loss rises.' }, advice: null, non_finite: [], marks: [{ text: 'lowest loss 1' }],
    cards: [{ title: 'Both rise', lead: 'Why.', facts: [['loss', '+1 nats', '95 %: 0 to 2']], causes: [cause] }], limits: ['Something is missing.'],
  };
  const text = report(state);
  for (const part of ['# a\n', '**Loss rises.**', '- lowest loss 1', '## Both rise', '- loss: +1 nats (95 %: 0 to 2)', '### Over-confidence (supported)', '```python\nz / 2\n```', '| for | T | 2 | > 1 |', '- Something is missing.']) assert.ok(text.includes(part), part);
});
