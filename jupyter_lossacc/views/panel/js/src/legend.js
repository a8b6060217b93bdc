/** The row above each chart: what is drawn, and its value at the epoch under the cursor. */

import { el } from './dom.js';
import { number, percent } from './numbers.js';
import { valueAt } from './series.js';

const TITLES = { loss: 'Loss', accuracy: 'Accuracy' };

/** Swatch that repeats colour, dash and width of a line. */
function swatch(s) {
  const line = s.dash ? `repeating-linear-gradient(90deg,var(${s.color}) 0 ${s.dash[0] + 1}px,transparent ${s.dash[0] + 1}px ${s.dash[0] + s.dash[1]}px)` : `var(${s.color})`;
  return el('i', { class: 'swatch', style: `background:${line};height:${Math.max(2, Math.round(s.width))}px`, 'aria-hidden': 'true' });
}

/**
 * Fill a chart's head; its elements are made anew only when the series change, so nothing flickers.
 * @param {HTMLElement} head
 * @param {'loss'|'accuracy'} pane
 * @param {any[]} list its series
 * @param {number|null} epoch null for the latest
 * @param {string} [unit]
 */
export function fillLegend(head, pane, list, epoch, unit = '') {
  const names = [unit, ...list.map((s) => s.key + s.label)].join('|');
  if (head.dataset.names !== names) {
    head.dataset.names = names;
    head.replaceChildren(
      el('h3', {}, TITLES[pane], unit && el('span', { class: 'unit' }, ` ${unit}`)),
      el('ul', { class: 'legend' }, list.map((s) => el('li', {}, swatch(s), el('span', {}, s.label), el('b', { 'data-series': s.key })))),
    );
    if (pane === 'loss') head.append(el('span', { class: 'at' }));
  }
  const write = pane === 'loss' ? number : percent;
  for (const s of list) {
    const cell = head.querySelector(`b[data-series="${CSS.escape(s.key)}"]`);
    const value = valueAt(s, epoch ?? Infinity);
    cell.textContent = value == null ? '–' : write(value);
  }
  const at = head.querySelector('.at');
  if (at) at.textContent = epoch == null ? 'latest' : `epoch ${number(epoch)}`;
}

/** One sentence with all values at an epoch, for who cannot see the charts. */
export function readAloud(lists, epoch) {
  const parts = [];
  for (const [pane, write] of [['loss', number], ['accuracy', percent]]) {
    for (const s of lists[pane] || []) {
      const value = s.epoch ? valueAt(s, epoch) : null;
      if (value != null) parts.push(`${s.label} ${pane} ${write(value)}`);
    }
  }
  return `Epoch ${number(epoch)}: ${parts.join(', ')}.`;
}
