/** Two stacked charts, loss above accuracy, on one epoch axis. */

import uPlot from 'uplot';
import { el } from './dom.js';
import { number } from './numbers.js';
import { placeBands, placeGlyphs } from './overlay.js';
import { align, nearestEpoch, seriesOf, xRange, yRange } from './series.js';

const PANES = ['loss', 'accuracy'];
const FEW_POINTS = 60; // epochs in view up to which every one gets a dot
const FONT = '12px system-ui, sans-serif';
const AXIS_WIDTH = 50;
let syncs = 0;

const HEIGHTS = { wide: { loss: 230, accuracy: 160 }, narrow: { loss: 190, accuracy: 140 } };

export class Charts {
  /**
   * @param {HTMLElement} root empty element that the charts fill
   * @param {any} store
   * @param {{log: boolean, zoom: [number, number]|null}} view what the user chose; written back here
   * @param {{color: (name: string) => string, openCard: (id: string) => void, cursor: (epoch: number|null) => void,
   *   viewChanged: () => void, announce: (epoch: number) => void}} hooks
   */
  constructor(root, store, view, hooks) {
    Object.assign(this, { root, store, view, hooks, overlay: null, openCard: null, plots: [], lists: {}, shape: '', width: 0 });
    this.sync = uPlot.sync(`lossacc-${++syncs}`);
    this.heads = {};
    this.frames = {};
    for (const pane of PANES) {
      this.heads[pane] = el('div', { class: 'pane-head' });
      this.frames[pane] = el('div', { class: 'pane', role: 'group', tabindex: '0', 'data-pane': pane, onkeydown: (e) => this.onKey(e) });
      root.append(this.heads[pane], this.frames[pane]);
    }
    this.reserve();
    // The element has no width, and style variables no value, before it is in the document.
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(root);
  }

  get narrow() {
    return this.root.clientWidth < 560;
  }

  height(pane) {
    return HEIGHTS[this.narrow ? 'narrow' : 'wide'][pane];
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
    if (!this.plots.length) return this.update();
    for (const u of this.plots) u.setSize({ width, height: this.height(u.lossaccPane) });
  }

  /** Draw what the store holds now. */
  update() {
    if (!this.width) return;
    for (const pane of PANES) {
      this.lists[pane] = seriesOf(this.store.state, this.store.steps, pane, this.overlay);
      this.frames[pane].setAttribute('aria-label', this.store.state.words[pane]);
    }
    const all = PANES.flatMap((pane) => this.lists[pane]);
    this.full = xRange(all);
    const shape = JSON.stringify([this.view.log, PANES.map((pane) => this.lists[pane].map((s) => s.key + s.label + (s.x.length < 4)))]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.build();
    } else {
      for (const u of this.plots) u.setData(align(this.lists[u.lossaccPane]));
    }
  }

  build() {
    for (const u of this.plots) u.destroy();
    this.plots = PANES.map((pane) => this.plot(pane));
    for (const u of this.plots) this.decorate(u);
  }

  plot(pane) {
    const { color } = this.hooks;
    const ink = () => color('--muted');
    const grid = { stroke: () => color('--grid'), width: 1 };
    const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font: FONT, gap: 4 };
    const isLoss = pane === 'loss';
    const u = new uPlot(
      {
        width: this.width,
        height: this.height(pane),
        legend: { show: false },
        padding: [10, 14, 0, 0],
        scales: {
          // A little room at the right: the last epoch's point is drawn whole.
          x: { time: false, range: () => this.view.zoom || [this.full[0], this.full[1] + 0.012 * (this.full[1] - this.full[0])] },
          y: { distr: isLoss && this.view.log ? 3 : 1, range: (plot) => this.valueRange(plot, pane) },
        },
        axes: [
          { ...axis, size: isLoss ? 10 : 30, values: isLoss ? (_, ticks) => ticks.map(() => '') : (_, ticks) => ticks.map((t) => (Number.isInteger(t) ? String(t) : '')) },
          { ...axis, size: AXIS_WIDTH, values: (_, ticks) => ticks.map((t) => (t == null ? '' : isLoss ? number(t) : `${number(100 * t)} %`)) },
        ],
        series: [{}, ...this.lists[pane].map((s) => this.line(s))],
        cursor: {
          bind: unfiltered,
          sync: { key: this.sync.key, setSeries: false },
          drag: { x: true, y: false, setScale: false },
          points: { size: 7 },
          dataIdx: (plot, i, at) => nearestFilled(plot.data[i], plot.data[0], at),
        },
        hooks: {
          setCursor: [(plot) => this.moved(plot)],
          setSelect: [(plot) => this.selected(plot)],
          drawClear: [(plot) => this.drawReferences(plot, pane)],
          draw: [(plot) => this.decorate(plot)],
        },
      },
      align(this.lists[pane]),
      this.frames[pane],
    );
    u.lossaccPane = pane;
    u.layer = el('div', { class: 'layer' });
    u.over.append(u.layer);
    u.over.addEventListener('dblclick', () => this.resetZoom());
    u.root.querySelector('canvas').setAttribute('aria-hidden', 'true');
    this.sync.sub(u);
    return u;
  }

  line(s) {
    // Colours are functions: the theme may change, and at first there is none.
    const stroke = () => this.hooks.color(s.color);
    const dots = (plot, i) => !s.thin && inView(plot, this.lists[plot.lossaccPane || 'loss'][i - 1]) <= FEW_POINTS;
    const show = s.thin || s.key === 'overlay' ? false : dots;
    return { label: s.label, stroke, width: s.width, dash: s.dash, cap: s.round ? 'round' : 'butt', spanGaps: false, points: { show, size: s.x.length < 4 ? 9 : s.round ? 3 : 5, width: 1, fill: stroke } };
  }

  valueRange(plot, pane) {
    const references = this.store.state.references.filter((r) => r.pane === pane).map((r) => r.value);
    const isLoss = pane === 'loss';
    const found = yRange(this.lists[pane], this.view.zoom || this.full, references);
    if (!found) return [isLoss && this.view.log ? 0.1 : 0, 1];
    const [low, high] = found;
    if (isLoss && this.view.log) return logRange(this.lists[pane], low, high);
    // A few samples more or less must not look like a leap.
    const span = isLoss ? high - low || Math.abs(high) || 1 : Math.max(high - low, 0.05);
    const margin = span * 0.06 + (isLoss ? 0 : (span - (high - low)) / 2);
    return isLoss ? [low >= 0 ? Math.max(0, low - margin) : low - margin, high + margin] : [Math.max(0, low - margin), Math.min(1.02, high + margin)];
  }

  drawReferences(u, pane) {
    const { ctx } = u;
    ctx.save();
    ctx.strokeStyle = this.hooks.color('--reference');
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
    for (const r of this.store.state.references) {
      if (r.pane !== pane || !(r.value >= u.scales.y.min && r.value <= u.scales.y.max)) continue;
      const y = u.valToPos(r.value, 'y', true);
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, y);
      ctx.lineTo(u.bbox.left + u.bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** Put bands, marks and labels over a chart. */
  decorate(u) {
    if (!u.layer) return;
    const { state } = this.store;
    placeBands(u, state.bands, { links: u.lossaccPane === 'loss', open: this.openCard, onOpen: this.hooks.openCard });
    placeGlyphs(u, state, this.lists[u.lossaccPane]);
  }

  moved(u) {
    if (u.cursor.left == null || u.cursor.left < 0) return this.hooks.cursor(null);
    const at = nearestEpoch(PANES.flatMap((p) => this.lists[p]), u.posToVal(u.cursor.left, 'x'));
    this.hooks.cursor(at);
  }

  selected(u) {
    if (u.select.width <= 6) return;
    const from = u.posToVal(u.select.left, 'x');
    const to = u.posToVal(u.select.left + u.select.width, 'x');
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.zoom([from, to]);
  }

  zoom(range) {
    this.view.zoom = range;
    this.hooks.viewChanged();
    for (const u of this.plots) u.setData(u.data);
  }

  resetZoom() {
    this.zoom(null);
  }

  setLog(log) {
    this.view.log = log;
    this.hooks.viewChanged();
    this.update();
  }

  /** Show a cause's counterfactual loss, or none. */
  setOverlay(overlay) {
    this.overlay = overlay;
    this.update();
  }

  setOpen(card) {
    this.openCard = card;
    for (const u of this.plots) this.decorate(u);
  }

  /** After a change of theme: colours only. A rebuild would measure a page that is hidden just now. */
  redraw() {
    for (const u of this.plots) u.redraw(false, true);
  }

  /** Arrow keys walk through the epochs, + and - zoom, 0 shows all. */
  onKey(event) {
    if (event.target !== event.currentTarget || !this.plots.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const list = PANES.flatMap((p) => this.lists[p]);
    const epochs = [...new Set(list.filter((s) => s.epoch).flatMap((s) => s.x))].sort((a, b) => a - b);
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
    for (const u of this.plots) u.setCursor({ left: u.valToPos(epoch, 'x'), top: u.over.clientHeight / 2 }, false);
    this.hooks.cursor(epoch);
    this.hooks.announce(epoch);
  }

  destroy() {
    this.observer.disconnect();
    for (const u of this.plots) u.destroy();
    this.plots = [];
  }
}

// uPlot ignores the mouse over children of its plotting area; our bands are such children.
const unfiltered = {
  mousedown: (u, target, handle) => (e) => (e.button === 0 ? handle(e) : null),
  mouseup: (u, target, handle) => (e) => (e.button === 0 ? handle(e) : null),
  mousemove: (u, target, handle) => (e) => handle(e),
  dblclick: () => () => null,
};

function inView(u, s) {
  const { min, max } = u.scales.x;
  let n = 0;
  for (const x of s?.x || []) if (x >= min && x <= max) n++;
  return n;
}

/** Index of the point nearest to `at` at which the series has a value. */
function nearestFilled(column, xs, at) {
  if (column[at] != null) return at;
  let left = at;
  let right = at;
  while (left >= 0 && column[left] == null) left--;
  while (right < column.length && column[right] == null) right++;
  if (left < 0) return right < column.length ? right : at;
  if (right >= column.length) return left;
  return xs[at] - xs[left] <= xs[right] - xs[at] ? left : right;
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
