/** What the panel knows: the state from Python, the live steps, and who wants to hear of changes. */

import { takeRows } from './samples.js';

const COLUMNS = ['x', 'epoch', 'loss', 'accuracy', 'calibrated'];
const MANY_STEPS = 6000; // beyond this the live curve is thinned again
const FEW_STEPS = 1500;

/**
 * Apply a change from `delta.py`.
 * @param {Record<string, any>} state
 * @param {{set: Record<string, any>, grow: Record<string, any>}} change
 */
export function applyDelta(state, change) {
  const next = { ...state, ...change.set };
  next.curves = (next.curves || []).map((curve) => {
    const more = change.grow[curve.id];
    // A point that is already there means that this message was overtaken by a snapshot.
    if (!more || curve.x.length !== more.from) return curve;
    const grown = { ...curve };
    for (const key of COLUMNS) grown[key] = curve[key].concat(more[key]);
    return grown;
  });
  return next;
}

/**
 * Keep at most `limit` points of a dense curve, with the extremes of every stretch (as `coding.py`).
 * @param {number[]} x
 * @param {number[]} y
 * @param {number} limit
 */
export function thin(x, y, limit = FEW_STEPS) {
  if (x.length <= limit) return { x, loss: y };
  const stretches = Math.max(1, Math.floor((limit - 1) / 3));
  const keep = new Set([x.length - 1]);
  for (let s = 0; s < stretches; s++) {
    const from = Math.floor((s * x.length) / stretches);
    const to = Math.floor(((s + 1) * x.length) / stretches);
    let low = -1;
    let high = -1;
    let broken = -1;
    for (let i = from; i < to; i++) {
      if (!Number.isFinite(y[i])) {
        if (broken < 0) broken = i;
        continue;
      }
      if (low < 0 || y[i] < y[low]) low = i;
      if (high < 0 || y[i] > y[high]) high = i;
    }
    for (const i of [low, high, broken]) if (i >= 0) keep.add(i);
  }
  const rows = [...keep].sort((a, b) => a - b);
  return { x: rows.map((i) => x[i]), loss: rows.map((i) => y[i]) };
}

const NUMBERS = { nan: NaN, inf: Infinity, '-inf': -Infinity };
const plain = (values) => values.map((v) => (typeof v === 'string' ? NUMBERS[v] : v));

/** The store of one model; several views of it (a second output, a reload) share it. */
export class Store {
  /** @param {string} [run] under which rows are kept */
  constructor(snapshot, run = '') {
    this.run = run;
    this.listeners = new Set();
    this.acknowledged = false;
    this.replace(snapshot);
  }

  /** Take a full snapshot. */
  replace(snapshot) {
    const { steps, progress, ...state } = snapshot;
    this.state = state;
    this.progress = progress || {};
    this.takeSteps(steps);
    this.tell('state');
  }

  takeSteps(steps) {
    this.steps = { x: plain(steps?.x || []), loss: plain(steps?.loss || []) };
  }

  /** Take a message from the kernel. */
  receive(message, buffers) {
    if (message.t === 'ack') {
      this.acknowledged = message.at || 'step';
      this.tell('ack');
    } else if (message.t === 'live') {
      this.progress = message.progress;
      this.append(floats(buffers[0]), floats(buffers[1]));
      this.tell('live');
    } else if (message.t === 'delta') {
      const { steps, ...set } = message.set;
      if (steps) this.takeSteps(steps);
      this.state = applyDelta(this.state, { set, grow: message.grow });
      this.tell('state');
    } else if (message.t === 'rows') {
      takeRows(this.run, message, buffers);
      this.tell('rows');
    }
  }

  append(x, loss) {
    const { steps } = this;
    for (let i = 0; i < x.length; i++) {
      steps.x.push(x[i]);
      steps.loss.push(loss[i]);
    }
    if (steps.x.length > MANY_STEPS) this.steps = thin(steps.x, steps.loss);
  }

  /** @param {string} what "state", "live", "rows" or "ack" */
  tell(what) {
    for (const listener of this.listeners) listener(what);
  }
}

function floats(view) {
  if (!view || !view.byteLength) return new Float32Array(0);
  return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}
