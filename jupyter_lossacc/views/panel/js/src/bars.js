/** Small pictures inside a card: waterfall, confidence histograms, reliability diagram. */

import { el, svg } from './dom.js';
import { count, decode, percent, signed } from './numbers.js';

/**
 * Loss change step by step; every bar begins where the one before it ended.
 * @param {{bars: {label: string, n: number, value: number}[], total: number}} data
 */
export function waterfall(data, caption) {
  let at = 0;
  const rows = data.bars.map((bar) => {
    const value = decode(bar.value);
    const row = { ...bar, value, from: at, to: at + value };
    at += value;
    return row;
  });
  rows.push({ label: data.loss === 'unweighted loss' ? 'change' : 'loss change', n: null, value: decode(data.total), from: 0, to: decode(data.total), total: true });
  const low = Math.min(0, ...rows.flatMap((r) => [r.from, r.to]));
  const high = Math.max(0, ...rows.flatMap((r) => [r.from, r.to]));
  const place = (v) => (100 * (v - low)) / (high - low || 1);
  const line = (row) =>
    el(
      'tr',
      { class: row.total ? 'total' : '' },
      el('th', { scope: 'row' }, row.label),
      el('td', {}, row.n == null ? '' : count(row.n)),
      el('td', { class: 'bar-cell' }, bar(row, place)),
      el('td', {}, signed(row.value)),
    );
  return el(
    'table',
    { class: 'waterfall' },
    el('caption', {}, caption),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col', class: 'left' }, 'samples that'), el('th', { scope: 'col' }, 'how many'), el('td', {}), el('th', { scope: 'col' }, 'nats'))),
    el('tbody', {}, rows.map(line)),
  );
}

function bar(row, place) {
  const from = place(Math.min(row.from, row.to));
  const to = place(Math.max(row.from, row.to));
  const kind = row.total ? 'sum' : row.value > 0 ? 'rise' : 'fall';
  return el(
    'div',
    { class: 'track', 'aria-hidden': 'true' },
    el('i', { class: 'zero', style: `left:${place(0)}%` }),
    el('i', { class: `bar ${kind}`, style: `left:${from}%;width:${Math.max(0.6, to - from)}%` }),
  );
}

const W = 240;
const H = 120;

/** Samples by confidence at both ends: right ones above the line, wrong ones below. */
export function histograms(data, start, end) {
  const ends = [['start', start], ['end', end]];
  const top = Math.max(1, ...ends.flatMap(([name]) => data[name].right));
  const bottom = Math.max(1, ...ends.flatMap(([name]) => data[name].wrong));
  const axis = 12 + ((H - 30) * top) / (top + bottom);
  const scale = (H - 30) / (top + bottom);
  const one = ([name, epoch]) => {
    const { right, wrong } = data[name];
    const step = W / right.length;
    const column = (n, i, below) => (n ? svg('rect', { class: below ? 'wrong' : 'right', x: i * step + 0.75, width: step - 1.5, y: below ? axis + 0.5 : axis - n * scale, height: Math.max(0.75, n * scale) }) : null);
    return el(
      'div',
      {},
      el('p', { class: 'small' }, `epoch ${epoch}`),
      svg(
        'svg',
        { viewBox: `0 0 ${W} ${H}`, class: 'svg', 'aria-hidden': 'true' },
        right.map((n, i) => column(n, i, false)),
        wrong.map((n, i) => column(n, i, true)),
        svg('line', { x1: 0, x2: W, y1: axis, y2: axis, class: 'axis' }),
        [0, 0.5, 1].map((v) => svg('text', { x: v * W, y: H - 2, 'text-anchor': v === 0 ? 'start' : v === 1 ? 'end' : 'middle' }, percent(v))),
      ),
    );
  };
  return el(
    'figure',
    { class: 'figure' },
    el('figcaption', {}, el('strong', {}, 'How sure the model was'), ' ', data.text),
    el('div', { class: 'pair' }, ends.map(one)),
    el('p', { class: 'small' }, el('i', { class: 'key right' }), ' right, above the line  ', el('i', { class: 'key wrong' }), ' wrong, below; across: confidence'),
  );
}

const SIDE = 170;

/** Confidence against accuracy; on the diagonal the model is exactly as sure as it is right. */
export function reliability(data, start, end) {
  const x = (v) => 26 + decode(v) * (SIDE - 34);
  const y = (v) => SIDE - 20 - decode(v) * (SIDE - 28);
  const path = (d) => d.confidence.map((c, i) => `${i ? 'L' : 'M'}${x(c).toFixed(1)} ${y(d.accuracy[i]).toFixed(1)}`).join('');
  const most = Math.max(1, ...data.start.n, ...data.end.n);
  // Area by the number of samples: a bin of one sample must not look like a finding.
  const size = (n) => 1.3 + 4 * Math.sqrt(n / most);
  const dot = (d, i, name) => {
    const [cx, cy, r] = [x(d.confidence[i]), y(d.accuracy[i]), size(d.n[i])];
    return name === 'end' ? svg('circle', { cx, cy, r, class: name }) : svg('rect', { x: cx - r, y: cy - r, width: 2 * r, height: 2 * r, class: name });
  };
  const dots = (d, name) => d.confidence.map((_, i) => dot(d, i, name));
  return el(
    'figure',
    { class: 'figure' },
    el('figcaption', {}, el('strong', {}, 'As sure as it is right?'), ' ', data.text),
    svg(
      'svg',
      { viewBox: `0 0 ${SIDE} ${SIDE}`, class: 'svg square', 'aria-hidden': 'true' },
      svg('line', { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: 'diagonal' }),
      svg('path', { d: `M${x(0)} ${y(1)}V${y(0)}H${x(1)}`, class: 'axis' }),
      ['start', 'end'].flatMap((name) => [svg('path', { d: path(data[name]), class: `path ${name}` }), dots(data[name], name)]),
      svg('text', { x: x(0), y: SIDE - 3 }, '0 %'),
      svg('text', { x: x(1), y: SIDE - 3, 'text-anchor': 'end' }, '100 %'),
      svg('text', { x: x(0.45), y: SIDE - 3, 'text-anchor': 'middle' }, 'confidence'),
      svg('text', { x: 10, y: y(0.5), 'text-anchor': 'middle', transform: `rotate(-90 10 ${y(0.5)})` }, 'accuracy'),
      svg('text', { x: 10, y: y(1), 'text-anchor': 'end', transform: `rotate(-90 10 ${y(1)})` }, '100 %'),
    ),
    el('p', { class: 'small' }, el('i', { class: 'key start' }), ` epoch ${start}  `, el('i', { class: 'key end' }), ` epoch ${end}`),
  );
}

/** Share of the loss change that a cause explains, with its interval. */
export function shareBar(share) {
  const clamp = (v) => Math.min(130, Math.max(0, 100 * decode(v)));
  const [value, low, high] = [share.value, share.low, share.high].map(clamp);
  const wide = (v) => `${v / 1.3}%`;
  return el(
    'div',
    { class: 'share', 'aria-hidden': 'true' },
    el('i', { class: 'share-value', style: `width:${wide(value)}` }),
    Number.isFinite(low + high) ? el('i', { class: 'share-range', style: `left:${wide(low)};width:${wide(high - low)}` }) : null,
    el('i', { class: 'share-whole', style: `left:${wide(100)}` }),
  );
}
