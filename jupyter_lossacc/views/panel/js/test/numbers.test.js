import assert from 'node:assert/strict';
import { test } from 'node:test';
import { apart, count, decode, duration, number, percent, points, signed } from '../src/numbers.js';

test('numbers have at most three significant digits and a real minus', () => {
  assert.deepEqual([0.23468, 12345, -0.00001234, 0, 100, 0.1].map(number), ['0.235', '12,300', '−1.23e−5', '0', '100', '0.1']);
});

test('ticks of an axis differ, however little lies between them', () => {
  assert.deepEqual(apart([1.609, 1.6095, 1.61]), ['1.609', '1.6095', '1.61']);
  assert.deepEqual(apart([0.5, 1, 1.5]), ['0.5', '1', '1.5']);
  assert.deepEqual(apart([98.325, 98.33]), ['98.325', '98.33']);
});

test('what is not finite is said, never shown as zero', () => {
  assert.deepEqual(['nan', 'inf', '-inf', null].map(number), ['NaN', '∞', '−∞', '–']);
  assert.equal(percent('nan'), 'NaN');
  assert.ok(Number.isNaN(decode('nan')));
});

test('differences carry their sign', () => {
  assert.deepEqual([0.5, -0.5, 0].map(signed), ['+0.5', '−0.5', '0']);
  assert.equal(points(0.025), '+2.5');
  assert.equal(percent(0.6183), '61.8 %');
});

test('counts and sample ids stay whole', () => {
  assert.equal(count(123), '123');
  assert.equal(count(1234567), '1,234,567');
});

test('a time left is short and never without end', () => {
  assert.deepEqual([0, 1.26, 9.99, 12, 75, 3700].map(duration), ['0.1 s', '1.3 s', '10 s', '12 s', '1 min 15 s', '1 h 1 min']);
});
