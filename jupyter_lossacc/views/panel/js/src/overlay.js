/** What lies over the charts as real elements: bands (links), marks, learning-rate ticks, labels. */

import { el } from './dom.js';
import { number } from './numbers.js';
import { crosses, goesOn } from './series.js';

/** Shapes of marks; the epoch to keep is a line. */
export const GLYPHS = { 'triangle-down': '▼', 'triangle-up': '▲', diamond: '◆', keep: '┆' };
const LANE = 19; // px per row of labels
const MIN_BAND = 8; // px: a band of one epoch is still something to click on
const NEAR = 3; // px between a label and a curve

/** Children of a layer by key, so that they are moved and not made again at each draw. */
function keyed(layer, group) {
  const have = new Map();
  for (const child of layer.children) if (child.dataset.group === group) have.set(child.dataset.id, child);
  return have;
}

/**
 * Place one link per episode over the plotting area. In the lower chart they are for the mouse only.
 * @param {any} u the `Plot`
 * @param {any[]} bands
 * @param {any[]} curves what was drawn of each split, perhaps more than was analysed
 * @param {{links: boolean, open: string|null, onOpen: (id: string) => void}} how
 */
export function placeBands(u, bands, curves, { links, open, onOpen }) {
  const held = bands.some((b) => b.split === 'val');
  const have = keyed(u.layer, 'band');
  const { width } = u;
  const lanes = [];
  for (const band of bands) {
    let a = have.get(band.id);
    have.delete(band.id);
    if (!a) {
      a = makeBand(band, links, onOpen);
      u.layer.append(a);
    }
    dress(a, band, links, open, held && band.split !== 'val');
    // Epoch e occupies (e - 1, e]; the movement runs between the ends of its first and last epoch.
    const from = Math.max(0, u.left(band.start));
    const to = Math.min(width, u.left(band.end));
    const left = Math.min(from, width - MIN_BAND);
    a.hidden = to < 0 || from > width;
    a.style.left = `${left}px`;
    a.style.width = `${Math.max(MIN_BAND, to - left)}px`;
    if (links && !a.hidden) placeTag(a.firstChild, left, width, lanes);
  }
  for (const gone of have.values()) gone.remove();
  placeRests(u, held ? bands.filter((b) => b.split === 'val') : bands, curves, onOpen);
}

/** Draw bands that were open at their end on to the newest point, lighter: nobody has looked at that yet. */
function placeRests(u, bands, curves, onOpen) {
  const have = keyed(u.layer, 'rest');
  for (const band of bands) {
    const newest = goesOn(band, curves);
    if (newest == null) continue;
    let rest = have.get(band.id);
    have.delete(band.id);
    if (!rest) {
      rest = el('span', { 'data-id': band.id, 'data-group': 'rest', 'aria-hidden': 'true', onclick: () => onOpen(band.id) });
      u.layer.prepend(rest); // below the bands and their labels
    }
    const left = Math.max(0, u.left(band.end));
    const width = Math.min(u.width, u.left(newest)) - left;
    rest.className = `rest tone-${band.tone} kind-${band.kind}`;
    rest.title = `Going on at epoch ${band.end}; the epochs since then are not analysed yet.`;
    rest.hidden = width <= 0;
    Object.assign(rest.style, { left: `${left}px`, width: `${width}px` });
  }
  for (const gone of have.values()) gone.remove();
}

function makeBand(band, links, onOpen) {
  const attributes = links ? { tabindex: '0' } : { tabindex: '-1', 'aria-hidden': 'true' };
  const a = el('a', { href: `#card-${band.id}`, 'data-id': band.id, 'data-group': 'band', draggable: 'false', ...attributes }, links && el('span', { class: 'tag', 'aria-hidden': 'true' }));
  a.addEventListener('mousedown', (e) => e.preventDefault()); // no native drag of the link: dragging zooms
  a.addEventListener('click', (e) => {
    e.preventDefault();
    onOpen(band.id);
  });
  return a;
}

/** Where validation has bands, those of other splits are drawn as edges only: fills would pile up. */
function dress(a, band, links, open, beside) {
  a.className = ['band', `tone-${band.tone}`, `kind-${band.kind}`, band.quiet && 'quiet', band.retracted && 'retracted', beside && 'beside', open === band.id && 'open'].filter(Boolean).join(' ');
  a.title = band.title;
  if (!links) return;
  a.setAttribute('aria-label', band.label);
  if (a.firstChild.textContent !== band.short) a.firstChild.textContent = band.short;
}

/** Give a label the first row in which it touches no other. */
function placeTag(tag, left, width, lanes) {
  tag.style.maxWidth = `${width}px`;
  const size = Math.min(tag.offsetWidth || 80, width);
  const shift = Math.min(2, width - left - size);
  const start = left + shift;
  let lane = lanes.findIndex((end) => end + 4 < start);
  if (lane < 0) lane = lanes.length;
  lanes[lane] = start + size;
  tag.style.left = `${shift}px`;
  tag.style.top = `${2 + lane * LANE}px`;
}

/** Place marks for best epochs, the epoch to keep, values that are not finite, and rate changes. */
export function placeGlyphs(u, state, list) {
  const { pane } = u;
  const items = [];
  for (const mark of state.marks) {
    if (mark.shape === 'keep') items.push({ id: 'keep', x: mark.x, line: 'keep', text: mark.text, label: pane === 'accuracy' ? mark.text : '' });
    else if (mark.pane === pane) items.push({ id: mark.shape, x: mark.x, y: mark.y, glyph: GLYPHS[mark.shape], text: mark.text, name: `mark mark-${mark.shape}` });
  }
  state.rate_changes.forEach((change, i) => items.push({ id: `rate-${i}`, x: change.x, line: 'rate', text: change.text }));
  for (const s of list) {
    for (const b of s.broken) items.push({ id: `${s.key}-${b.x}`, x: b.x, y: b.y, glyph: '✕', text: `${s.label}: ${number(b.value)} at ${number(b.x)}`, name: 'mark broken' });
  }
  for (const r of state.references) if (r.pane === pane) items.push({ id: r.label, y: r.value, glyph: r.label, text: r.title, name: 'reference', right: true });
  place(u, items, [...state.bands.flatMap((b) => [b.start, b.end]), ...u.compared]);
}

function place(u, items, upright) {
  const have = keyed(u.layer, 'glyph');
  const walls = [...upright, ...items.filter((item) => item.line === 'keep').map((item) => item.x)].map((x) => u.left(x));
  const { width, height } = u;
  for (const item of items) {
    let node = have.get(item.id);
    have.delete(item.id);
    if (!node) {
      node = el('span', { 'data-id': item.id, 'data-group': 'glyph', 'aria-hidden': 'true' });
      u.layer.append(node);
    }
    node.className = item.line ? `line ${item.line}` : item.name;
    node.title = item.text;
    const text = item.line ? item.label || '' : item.glyph;
    if (node.textContent !== text) node.textContent = text;
    const x = item.right ? width : u.left(item.x);
    const y = item.y == null ? (item.line ? 0 : height - 8) : u.top(item.y);
    node.hidden = x < -1 || x > width + 1 || (!item.line && (y < -1 || y > height + 1));
    node.classList.toggle('flip', Boolean(item.line) && x > width - 70);
    if (!item.right) node.style.left = `${x}px`;
    if (!item.line) node.style.top = `${y}px`;
    if (item.right && !node.hidden) freePlace(node, u, y, walls);
  }
  for (const gone of have.values()) gone.remove();
}

/**
 * Put a reference line's label where no curve and no upright line passes, as far right as may be; else where only
 * the thin curve of the batches does; nowhere, if there is no such place: it is listed below the charts too.
 */
function freePlace(node, u, y, walls) {
  const [wide, tall] = [node.offsetWidth, node.offsetHeight];
  if (!wide) return; // not shown in narrow places
  const free = (strict) => {
    for (let left = u.width - wide - 4; left >= 0; left -= wide / 2) {
      if (walls.some((x) => strict && x > left - NEAR && x < left + wide + NEAR)) continue;
      for (const top of [y - tall, y]) {
        const box = { left: left - NEAR, right: left + wide + NEAR, top: top - NEAR, bottom: top + tall + NEAR };
        if (top >= 0 && top + tall <= u.height && !u.list.some((s) => (strict || !s.thin) && crosses(s, u, box))) return [left, top];
      }
    }
    return null;
  };
  const found = free(true) || free(false);
  node.style.visibility = found ? '' : 'hidden';
  if (found) Object.assign(node.style, { left: `${found[0]}px`, top: `${found[1]}px` });
}
