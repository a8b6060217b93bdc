/** Numbers as Python codes them, and as people read them: three significant digits, signs, real minus. */

/** Decode one number: JSON has no NaN and no infinities, so they travel as words. */
export function decode(value) {
  if (value === 'nan') return NaN;
  if (value === 'inf') return Infinity;
  if (value === '-inf') return -Infinity;
  return value;
}

/** Write a number with at most three significant digits. */
export const number = (value) => written(value, 3);

function written(value, digits) {
  const v = decode(value);
  if (v == null) return '–';
  if (Number.isNaN(v)) return 'NaN';
  if (!Number.isFinite(v)) return v > 0 ? '∞' : '−∞';
  if (v === 0) return '0';
  const size = Math.floor(Math.log10(Math.abs(v)));
  let text;
  if (size < -3 || size > 8) {
    const [mantissa, exponent] = v.toExponential(digits - 1).split('e');
    text = `${Number(mantissa)}e${Number(exponent)}`;
  } else {
    const rounded = Number(v.toPrecision(digits));
    text = rounded.toLocaleString('en-US', { maximumFractionDigits: Math.max(0, digits - 1 - size) });
  }
  return text.replaceAll('-', '−');
}

/** Write the ticks of an axis with as few digits as tell them apart. */
export function apart(values) {
  let texts = [];
  for (let digits = 3; digits <= 12; digits++) {
    texts = values.map((v) => written(v, digits));
    if (new Set(texts).size === values.length) break;
  }
  return texts;
}

/** Write a count exactly. */
export const count = (value) => (value == null ? '–' : Number(value).toLocaleString('en-US'));

/** Write a difference: always with its sign. */
export function signed(value) {
  const v = decode(value);
  return (v > 0 ? '+' : '') + number(v);
}

/** Write a share of 1 as percent. */
export function percent(value) {
  const v = decode(value);
  return v == null || !Number.isFinite(v) ? number(v) : `${number(100 * v)} %`;
}

/** Write a change of a share in percentage points. */
export function points(value) {
  const v = decode(value);
  return v == null || !Number.isFinite(v) ? number(v) : signed(100 * v);
}

/** Write a length of time in its two largest units. */
export function duration(seconds) {
  if (seconds < 10) return `${number(Number(Math.max(0.1, seconds).toFixed(1)))} s`;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.round(seconds) % 60];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
}
