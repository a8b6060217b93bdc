/** From the state to what the charts draw: aligned columns, marks for what is not finite, ranges. */

import { decode } from './numbers.js';

/** Line style by split: colour, dash and width differ together, so that colour is never alone. */
const STYLES = {
  train: { color: '--train', dash: [7, 4], width: 1.5 },
  val: { color: '--val', dash: null, width: 2.25 },
  test: { color: '--test', dash: [10, 3, 2, 3], width: 1.75 },
  train_eval: { color: '--train-eval', dash: [3, 3], width: 1.5 },
};
const OTHERS = [
  { color: '--other', dash: [12, 4], width: 1.5 },
  { color: '--other2', dash: [4, 2, 1, 2], width: 1.5 },
];

/** Style of a split; unknown names take turns. */
export function styleOf(split, index) {
  return STYLES[split] || OTHERS[index % OTHERS.length];
}

/**
 * Separate finite values from the others.
 * @returns {{y: (number|null)[], broken: {x: number, y: number|null, value: number}[]}} `broken` has the
 *   first point of every stretch without finite values, at the height of the last finite one
 */
export function splitFinite(xs, values) {
  const broken = [];
  let last = null;
  let inside = false;
  const y = values.map((coded, i) => {
    const v = decode(coded);
    if (v == null) return null;
    if (Number.isFinite(v)) {
      last = v;
      inside = false;
      return v;
    }
    if (!inside) broken.push({ x: xs[i], y: last, value: v });
    inside = true;
    return null;
  });
  // Nothing finite came before: stand at the first finite value, where there is one.
  const first = y.find((v) => v != null) ?? null;
  for (const mark of broken) mark.y ??= first;
  return { y, broken };
}

/**
 * List the series of a pane.
 * @param {Record<string, any>} state
 * @param {{x: number[], loss: number[]}} steps
 * @param {'loss'|'accuracy'} pane
 * @param {{x: number[], y: number[], label: string}|null} overlay
 */
export function seriesOf(state, steps, pane, overlay) {
  const list = [];
  if (pane === 'loss' && steps.x.length) {
    list.push({ key: 'steps', label: 'training batches', color: '--steps', width: 1, dash: null, x: steps.x, values: steps.loss, thin: true });
  }
  state.curves.forEach((curve, i) => {
    const style = styleOf(curve.id, i);
    list.push({ key: curve.id, label: curve.label, ...style, x: curve.x, values: curve[pane], epoch: true });
    if (pane === 'loss' && curve.calibrated.length) {
      list.push({ key: `${curve.id}-calibrated`, label: `${curve.label}, ${state.words?.calibrated || 'calibrated'}`, color: style.color, dash: [1, 4], width: 2, round: true, x: curve.x, values: curve.calibrated, epoch: true });
    }
  });
  if (pane === 'loss' && overlay) {
    list.push({ key: 'overlay', label: overlay.label, color: '--overlay', dash: [2, 3, 6, 3], width: 2, x: overlay.x, values: overlay.y, epoch: true });
  }
  for (const item of list) Object.assign(item, splitFinite(item.x, item.values));
  return list;
}

/** Where the newest point of an open band's split lies, if points came after what was analysed; else null. */
export function goesOn(band, curves) {
  const newest = band.open ? curves.find((c) => c.id === band.split)?.x.at(-1) : null;
  return newest > band.end ? newest : null;
}

/** Range of the epoch axis: whole epochs, so that it does not creep with every batch. */
export function xRange(list) {
  let low = Infinity;
  let high = -Infinity;
  for (const s of list) {
    if (!s.x.length) continue;
    low = Math.min(low, s.x[0]);
    high = Math.max(high, s.x[s.x.length - 1]);
  }
  if (high < low) return [0, 1];
  low = Math.floor(low);
  high = Math.ceil(high);
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

/**
 * Range of the value axis in a stretch of epochs. Batch losses may widen it by half its height, no
 * more: one wild batch must not flatten the curves.
 */
export function yRange(list, [from, to], references = []) {
  const span = (chosen) => {
    let low = Infinity;
    let high = -Infinity;
    for (const s of chosen) {
      for (let i = 0; i < s.x.length; i++) {
        const v = s.y[i];
        if (v == null || s.x[i] < from || s.x[i] > to) continue;
        if (v < low) low = v;
        if (v > high) high = v;
      }
    }
    return [low, high];
  };
  let [low, high] = span(list.filter((s) => !s.thin));
  const [thinLow, thinHigh] = span(list.filter((s) => s.thin));
  if (high < low) [low, high] = [thinLow, thinHigh];
  if (high < low) return null;
  const room = (high - low || Math.abs(high) || 1) / 2;
  if (thinLow < low) low = Math.max(thinLow, low - room);
  if (thinHigh > high) high = Math.min(thinHigh, high + room);
  // A reference line that is near is worth the room; one far above the curves is not.
  for (const r of references) if (r > high && r - low < 1.6 * (high - low)) high = r;
  for (const r of references) if (r < low && high - r < 1.6 * (high - low)) low = r;
  return [low, high];
}

/** Value of a series at an epoch: its last point at or before it. */
export function valueAt(s, x) {
  let found = null;
  for (let i = 0; i < s.x.length && s.x[i] <= x + 1e-6; i++) found = decode(s.values[i]) ?? found;
  return found;
}

/**
 * Whether a drawn series passes through a box of the plotting area.
 * @param {any} s
 * @param {{left: (epoch: number) => number, top: (value: number) => number}} plot
 * @param {{left: number, right: number, top: number, bottom: number}} box
 */
export function crosses(s, plot, box) {
  let before = null;
  for (let i = 0; i < s.x.length; i++) {
    const at = s.y[i] == null ? null : [plot.left(s.x[i]), plot.top(s.y[i])];
    if (at && passes(before || at, at, box)) return true;
    before = at;
  }
  return false;
}

/** Whether the line from `a` to `b`, which lies right of it, meets the box. */
function passes(a, b, box) {
  if (b[0] < box.left || a[0] > box.right) return false;
  const height = (x) => (b[0] === a[0] ? b[1] : a[1] + ((Math.min(b[0], Math.max(a[0], x)) - a[0]) / (b[0] - a[0])) * (b[1] - a[1]));
  const [from, to] = [height(box.left), height(box.right)];
  return Math.max(from, to) >= box.top && Math.min(from, to) <= box.bottom;
}

/** All epoch-level positions, ascending. */
export const epochsOf = (list) => [...new Set(list.filter((s) => s.epoch).flatMap((s) => s.x))].sort((a, b) => a - b);

/** The epoch-level position nearest to x, over all series. */
export function nearestEpoch(list, x) {
  let best = null;
  for (const s of list) {
    if (!s.epoch) continue;
    for (const at of s.x) if (best == null || Math.abs(at - x) < Math.abs(best - x)) best = at;
  }
  return best;
}
