/** Two stacked charts, loss above accuracy, on one epoch axis: what they show, and what the reader does there. */

import { el } from './dom.js';
import { placeBands, placeGlyphs } from './overlay.js';
import { Plot } from './plot.js';
import { epochsOf, nearestEpoch, seriesOf, xRange, yRange } from './series.js';

const PANES = ['loss', 'accuracy'];
const HEIGHTS = { wide: { loss: 230, accuracy: 160 }, narrow: { loss: 190, accuracy: 140 } };
const NARROW = 560; // px
const CLICK = 4; // px that the mouse may move in a click; more is a drag to zoom

export class Charts {
  /**
   * @param {HTMLElement} root empty element that the charts fill
   * @param {any} store
   * @param {{log: boolean, zoom: [number, number]|null, compared: [number, number]|null}} view what the user
   *   chose; zoom and log are written back here
   * @param {{openCard: (id: string) => void, cursor: (epoch: number|null) => void, drawn: () => void,
   *   viewChanged: () => void, announce: (epoch: number) => void}} hooks
   */
  constructor(root, store, view, hooks) {
    Object.assign(this, { root, store, view, hooks, overlay: null, openCard: null, lists: {}, width: 0, epoch: null });
    this.heads = {};
    this.frames = {};
    this.plots = PANES.map((pane) => {
      this.heads[pane] = el('div', { class: 'pane-head' });
      this.frames[pane] = el('div', { class: 'pane', role: 'group', tabindex: '0', 'data-pane': pane, onkeydown: (e) => this.onKey(e) });
      root.append(this.heads[pane], this.frames[pane]);
      const plot = new Plot(pane, this.frames[pane]);
      this.listen(plot);
      return plot;
    });
    this.reserve();
    // The element has no width before it is in the document, and none while its page is hidden.
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(root);
  }

  height(pane) {
    return HEIGHTS[this.root.clientWidth < NARROW ? 'narrow' : 'wide'][pane];
  }

  /** Keep the room of the charts from the start, so that nothing below them moves. */
  reserve() {
    for (const pane of PANES) this.frames[pane].style.height = `${this.height(pane)}px`;
  }

  resize() {
    const width = this.root.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.reserve();
    for (const plot of this.plots) plot.resize(width, this.height(plot.pane));
    this.update();
  }

  /** Draw what the store holds now. */
  update() {
    const { state, steps } = this.store;
    for (const pane of PANES) {
      this.lists[pane] = seriesOf(state, steps, pane, this.overlay);
      this.frames[pane].setAttribute('aria-label', state.words[pane]);
    }
    this.full = xRange(PANES.flatMap((pane) => this.lists[pane]));
    this.draw();
  }

  draw() {
    if (!this.width) return;
    const { bands, curves, references } = this.store.state;
    // A little room at the right: the last epoch's point is drawn whole.
    const x = this.view.zoom || [this.full[0], this.full[1] + 0.012 * (this.full[1] - this.full[0])];
    for (const plot of this.plots) {
      const { pane } = plot;
      const lines = references.filter((r) => r.pane === pane).map((r) => r.value);
      plot.draw({ list: this.lists[pane], x, y: this.valueRange(pane, lines), log: pane === 'loss' && this.view.log, references: lines, compared: this.view.compared || [] });
      placeBands(plot, bands, curves, { links: pane === 'loss', open: this.openCard, onOpen: this.hooks.openCard });
      placeGlyphs(plot, this.store.state, this.lists[pane]);
    }
    this.point(this.epoch);
    this.hooks.drawn();
  }

  valueRange(pane, references) {
    const isLoss = pane === 'loss';
    const log = isLoss && this.view.log;
    const found = yRange(this.lists[pane], this.view.zoom || this.full, references);
    if (!found) return [log ? 0.1 : 0, 1];
    const [low, high] = found;
    if (log) return logRange(this.lists[pane], low, high);
    // A few samples more or less must not look like a leap.
    const span = isLoss ? high - low || Math.abs(high) || 1 : Math.max(high - low, 0.05);
    const margin = span * 0.06 + (isLoss ? 0 : (span - (high - low)) / 2);
    return isLoss ? [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin] : [Math.max(0, low - margin), Math.min(1.02, high + margin)];
  }

  /** Put the cursor at an epoch in both charts. */
  point(epoch) {
    this.epoch = epoch;
    for (const plot of this.plots) plot.point(epoch);
  }

  zoom(range) {
    this.view.zoom = range;
    this.hooks.viewChanged();
    this.draw();
  }

  resetZoom() {
    this.zoom(null);
  }

  setLog(log) {
    this.view.log = log;
    this.hooks.viewChanged();
    this.draw();
  }

  /** Show a cause's counterfactual loss, or none. */
  setOverlay(overlay) {
    this.overlay = overlay;
    this.update();
  }

  setOpen(card) {
    this.openCard = card;
    this.draw();
  }

  // ---------------------------------------------------------------- mouse and touch

  listen(plot) {
    const { over } = plot;
    let from = null;
    let box = null;
    const leftOf = (e) => Math.min(plot.width, Math.max(0, e.clientX - over.getBoundingClientRect().left));
    const end = () => {
      box?.remove();
      from = box = null;
    };
    over.addEventListener('pointerdown', (e) => {
      if (e.button === 0 && plot.x) from = leftOf(e);
    });
    over.addEventListener('pointermove', (e) => {
      if (!plot.x) return;
      const at = leftOf(e);
      this.move(nearestEpoch(this.everything(), plot.epochAt(at)));
      if (from == null || (!box && Math.abs(at - from) <= CLICK)) return;
      if (!box) {
        box = el('div', { class: 'select' });
        over.append(box);
        over.setPointerCapture(e.pointerId);
      }
      Object.assign(box.style, { left: `${Math.min(at, from)}px`, width: `${Math.abs(at - from)}px` });
    });
    over.addEventListener('pointerup', (e) => {
      const range = box && [from, leftOf(e)].sort((a, b) => a - b).map((v) => plot.epochAt(v));
      end();
      // What follows a drag is no click on the band below.
      this.dragged = Boolean(range);
      if (range) this.zoom(range);
    });
    over.addEventListener('pointercancel', end);
    over.addEventListener('pointerleave', () => from == null && this.move(null));
    over.addEventListener('click', (e) => this.dragged && e.stopPropagation(), true);
    over.addEventListener('dblclick', () => this.resetZoom());
  }

  move(epoch) {
    this.point(epoch);
    this.hooks.cursor(epoch);
  }

  everything() {
    return PANES.flatMap((pane) => this.lists[pane]);
  }

  // ---------------------------------------------------------------- keyboard

  /** Arrow keys walk through the epochs, + and - zoom, 0 shows all. */
  onKey(event) {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const list = this.everything();
    const epochs = epochsOf(list);
    if (!epochs.length) return;
    const now = this.keyEpoch == null ? epochs.length - 1 : epochs.indexOf(nearestEpoch(list, this.keyEpoch));
    const [from, to] = this.view.zoom || this.full;
    const middle = this.keyEpoch ?? (from + to) / 2;
    const steps = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: epochs.length - 1 };
    if (event.key in steps) this.walk(epochs[Math.min(epochs.length - 1, Math.max(0, steps[event.key]))]);
    else if (event.key === '+' || event.key === '=') this.zoom([middle - (to - from) / 4, middle + (to - from) / 4]);
    else if (event.key === '-') this.zoom(widen(middle, to - from, this.full));
    else if (event.key === '0' || event.key === 'Escape') this.resetZoom();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  walk(epoch) {
    this.keyEpoch = epoch;
    this.move(epoch);
    this.hooks.announce(epoch);
  }

  destroy() {
    this.observer.disconnect();
  }
}

function logRange(list, low, high) {
  let positive = Infinity;
  for (const s of list) for (const v of s.y) if (v > 0 && v < positive) positive = v;
  const floor = Math.max(low, positive);
  return [Number.isFinite(floor) ? floor / 1.15 : 0.1, Math.max(high, floor) * 1.15];
}

function widen(middle, width, [low, high]) {
  if (2 * width >= high - low) return null;
  return [middle - width, middle + width];
}
