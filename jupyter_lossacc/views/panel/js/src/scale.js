/** Where the ticks of an axis stand. */

/** Smallest round number that is at least `size`; quarters only where whole numbers are not wanted. */
function nice(size, whole) {
  const power = 10 ** Math.floor(Math.log10(size));
  return power * (whole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).find((m) => m * power >= size * 0.999);
}

/**
 * Ticks of a linear axis.
 * @param {number} low
 * @param {number} high
 * @param {number} most how many fit
 * @param {boolean} [whole] whole numbers only: there is no epoch 2.5
 */
export function linearTicks(low, high, most, whole = false) {
  if (!(high > low)) return [];
  const step = nice(Math.max((high - low) / most, whole ? 1 : 0), whole);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Ticks of a logarithmic axis: 1, 2, 5 in every decade, fewer over many, evenly spaced within one. */
export function logTicks(low, high, most) {
  const decades = Math.log10(high / low);
  if (decades < 0.7) return linearTicks(low, high, most).filter((v) => v > 0);
  const every = Math.ceil(decades / most);
  const ticks = [];
  for (let d = Math.floor(Math.log10(low)); d <= Math.log10(high); d += every) {
    for (const m of decades > most / 2 ? [1] : [1, 2, 5]) {
      const v = Number((m * 10 ** d).toPrecision(3));
      if (v >= low && v <= high) ticks.push(v);
    }
  }
  return ticks;
}

/**
 * Indices of the points that a curve needs at this width: of every pixel's points the first, the
 * lowest, the highest and the last.
 * @param {(number|null)[]} px positions, ascending
 * @param {(number|null)[]} y null where nothing is finite
 */
export function perPixel(px, y) {
  const keep = [];
  for (let i = 0; i < px.length; ) {
    const column = Math.floor(px[i]);
    const first = i;
    let low = i;
    let high = i;
    let gap = -1;
    for (; i < px.length && Math.floor(px[i]) === column; i++) {
      if (y[i] == null) gap = i;
      else {
        if (y[low] == null || y[i] < y[low]) low = i;
        if (y[high] == null || y[i] > y[high]) high = i;
      }
    }
    keep.push(...[...new Set([first, low, high, gap, i - 1])].filter((k) => k >= 0).sort((a, b) => a - b));
  }
  return keep;
}
