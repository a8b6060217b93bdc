/** What is known of two epochs that the reader chose: prepared, from the kernel, or from the curves at once. */

import { el } from './dom.js';
import { answers, ask } from './kernel.js';
import { decode, points, signed } from './numbers.js';
import { groupSums, rowsOf } from './samples.js';

const PAUSE = 300; // ms without a further move before the kernel is asked

/** Epochs of the compared split that can be chosen. */
export const choices = (state) => [...new Set(state.curves.find((c) => c.id === state.compare?.split)?.epoch)];

/** Name of an epoch, with its values. */
export function describe(state, epoch) {
  const named = state.compare.named.find((n) => n.epoch === epoch);
  return `epoch ${epoch}${named ? `, ${named.name}` : ''}`;
}

/** A card from the curves alone: exact values, no interval. */
function fromCurves(state, run, [start, end]) {
  const rows = [];
  const facts = [];
  for (const curve of state.curves) {
    const [a, b] = [start, end].map((epoch) => curve.epoch.lastIndexOf(epoch));
    if (a < 0 || b < 0) continue;
    for (const [column, name, unit] of [['loss', 'loss', 'nats'], ['calibrated', 'loss, calibrated', 'nats'], ['accuracy', 'accuracy', 'share']]) {
      if (!curve[column].length) continue;
      const [from, to] = [curve[column][a], curve[column][b]];
      rows.push({ name: `${curve.label} ${name}`, unit, start: from, end: to });
      if (curve.id === state.compare.split && column !== 'calibrated') {
        const change = decode(to) - decode(from);
        facts.push([name, unit === 'nats' ? `${signed(change)} nats` : `${points(change)} points`, '']);
      }
    }
  }
  const { word, split } = state.compare;
  const title = `${word[0].toUpperCase()}${word.slice(1)}: epoch ${start} and epoch ${end} compared`;
  const joined = rowsOf(run, { split, start, end });
  return { id: 'pair', split, start, end, title, lead: '', facts, causes: [], limits: [], ends: { start, end, rows }, ...(joined && { waterfall: { ...sums(joined, state.groups), start, end } }) };
}

/** Who moved, and how far that moves the mean loss: exact, from rows that are here. */
function sums(joined, groups) {
  const bars = groupSums(joined).map(([name, n, value]) => ({ label: groups[name], n, value }));
  return { bars, total: joined.change };
}

export class Pairs {
  /**
   * @param {string} run
   * @param {() => any} state
   * @param {() => void} changed called when an answer came
   */
  constructor(run, state, changed) {
    Object.assign(this, { run, state, changed, told: new Map(), timer: 0 });
  }

  /** The card of a pair as far as it is known now. */
  card(pair) {
    const state = this.state();
    const key = pair.join();
    const found = state.compare.pairs.find((p) => p.start === pair[0] && p.end === pair[1]) || this.told.get(key)?.card;
    const quick = fromCurves(state, this.run, pair);
    // The curves have every split; the kernel adds what needs the samples.
    if (found) return { ...quick, ...found, ends: quick.ends };
    return { ...quick, lead: this.told.get(key)?.problem || this.waiting(state) };
  }

  waiting(state) {
    if (state.status === 'running') return 'Values from the curves. Intervals and tables by sample follow when the cell has ended.';
    if (answers(this.run)) return 'Values from the curves. Intervals and tables by sample follow from the kernel …';
    return 'Values from the curves. This copy has no kernel behind it: intervals and tables by sample are there for the epochs that have a name.';
  }

  /** Ask the kernel for what the page does not know, once the reader has come to rest. */
  want(pair) {
    clearTimeout(this.timer);
    const state = this.state();
    const [start, end] = pair;
    const known = this.told.has(pair.join()) || state.compare.pairs.some((p) => p.start === start && p.end === end && p.samples);
    if (known || state.status === 'running' || !answers(this.run)) return;
    this.timer = setTimeout(async () => {
      this.told.set(pair.join(), {}); // asked once
      try {
        const { value } = await ask(this.run, { what: 'pair', split: state.compare.split, start, end });
        this.told.set(pair.join(), { card: value });
      } catch (error) {
        this.told.set(pair.join(), { problem: `Values from the curves. The kernel gave no more: ${error.message}.` });
      }
      this.changed();
    }, PAUSE);
  }
}

/** Two lists of the epochs that have a name. */
export function namedChoice(state, pair, choose) {
  const list = (i, label) =>
    el(
      'label',
      {},
      `${label} `,
      el('select', { 'data-key': `pair-${i}`, onchange: (e) => choose(i, Number(e.target.value)) }, [
        state.compare.named.some((n) => n.epoch === pair[i]) ? null : el('option', { value: pair[i], selected: true }, `epoch ${pair[i]}`),
        state.compare.named.map((n) => el('option', { value: n.epoch, selected: n.epoch === pair[i], disabled: i ? n.epoch <= pair[0] : n.epoch >= pair[1] }, `${n.name} (epoch ${n.epoch})`)),
      ]),
    );
  return el('div', { class: 'filters pair-choice' }, list(0, 'From'), list(1, 'to'), el('span', { class: 'small' }, 'or move the handles below the charts'));
}
