/** One chart as SVG: grid, axes, lines, and the cursor. Links and marks over it are in `overlay.js`. */

import { el, svg } from './dom.js';
import { apart, number } from './numbers.js';
import { linearTicks, logTicks, perPixel } from './scale.js';
import { valueAt } from './series.js';

/** Pixels around the plotting area. */
export const SPACE = { left: 50, right: 14, top: 10 };
const BOTTOM = { loss: 10, accuracy: 26 };
const FEW_POINTS = 60; // epochs in view up to which every one gets a dot

const round = (v) => Math.round(v * 10) / 10;

export class Plot {
  /**
   * @param {'loss'|'accuracy'} pane
   * @param {HTMLElement} frame
   */
  constructor(pane, frame) {
    this.pane = pane;
    this.image = svg('svg', { class: 'plot', 'aria-hidden': 'true' });
    this.pointer = svg('g', { class: 'pointer' });
    this.layer = el('div', { class: 'layer' });
    this.over = el('div', { class: 'over' }, this.layer);
    frame.append(this.image, this.over);
  }

  /** Take a size in pixels. */
  resize(width, height) {
    this.width = Math.max(40, width - SPACE.left - SPACE.right);
    this.height = height - SPACE.top - BOTTOM[this.pane];
    for (const [name, value] of Object.entries({ width, height })) this.image.setAttribute(name, value);
    Object.assign(this.over.style, { left: `${SPACE.left}px`, top: `${SPACE.top}px`, width: `${this.width}px`, height: `${this.height}px` });
  }

  /** Position of an epoch in the plotting area, and back. */
  left(epoch) {
    const [from, to] = this.x;
    return ((epoch - from) / (to - from)) * this.width;
  }

  epochAt(left) {
    const [from, to] = this.x;
    return from + (left / this.width) * (to - from);
  }

  /** Position of a value in the plotting area. */
  top(value) {
    const scale = this.log ? Math.log : Number;
    const [low, high] = this.y.map(scale);
    return this.height * (1 - (scale(value) - low) / (high - low));
  }

  /**
   * Draw everything anew.
   * @param {{list: any[], x: [number, number], y: [number, number], log: boolean, references: number[], compared: number[]}} what
   */
  draw({ list, x, y, log, references, compared }) {
    Object.assign(this, { list, x, y, log, compared });
    const { width, height } = this;
    const isLoss = this.pane === 'loss';
    const ticks = (log ? logTicks : linearTicks)(y[0], y[1], Math.max(4, Math.floor(height / 32)));
    const texts = isLoss ? apart(ticks) : apart(ticks.map((v) => Number((100 * v).toPrecision(12)))).map((text) => `${text} %`);
    const epochs = linearTicks(x[0], x[1], Math.max(2, Math.floor(width / 44)), true);
    const line = (name, at) => svg('line', { class: name, ...at });
    const across = (value, name) => line(name, { x1: 0, x2: width, y1: round(this.top(value)), y2: round(this.top(value)) });
    const down = (epoch, name) => line(name, { x1: round(this.left(epoch)), x2: round(this.left(epoch)), y1: 0, y2: height });
    this.image.replaceChildren(
      svg(
        'g',
        { transform: `translate(${SPACE.left} ${SPACE.top})` },
        ticks.map((v, i) => [across(v, 'grid'), svg('text', { class: 'tick', x: -8, y: round(this.top(v)) + 4, 'text-anchor': 'end' }, texts[i])]),
        epochs.map((v) => [down(v, 'grid'), isLoss ? null : svg('text', { class: 'tick', x: round(this.left(v)), y: height + 17, 'text-anchor': 'middle' }, number(v))]),
        references.filter((v) => v >= y[0] && v <= y[1]).map((v) => across(v, 'reference-line')),
        // An inner picture of its own cuts off what lies outside the axes; half a dot may stand over.
        svg('svg', { x: -4, y: -4, width: width + 8, height: height + 8 }, svg('g', { transform: 'translate(4 4)' }, list.map((s) => this.lines(s)), compared.map((epoch) => down(epoch, 'compared')), this.pointer)),
      ),
    );
  }

  lines(s) {
    const px = Array.from(s.x, (v) => this.left(v));
    const keep = px.length > 2 * this.width ? perPixel(px, s.y) : px.keys();
    let path = '';
    let dots = '';
    let pen = 'M';
    for (const i of keep) {
      if (px[i] < -this.width || px[i] > 2 * this.width) continue;
      if (s.y[i] == null || (this.log && !(s.y[i] > 0))) {
        pen = 'M';
        continue;
      }
      const at = `${round(px[i])} ${round(this.top(s.y[i]))}`;
      path += pen + at;
      dots += `M${at}h0`;
      pen = 'L';
    }
    const style = `stroke:var(${s.color})`;
    const { from, to } = { from: 0, to: this.width };
    const few = px.filter((v) => v >= from && v <= to).length <= FEW_POINTS;
    return [
      svg('path', { class: 'curve', d: path, style, 'stroke-width': s.width, 'stroke-dasharray': s.dash?.join(' '), 'stroke-linecap': s.round ? 'round' : null }),
      !s.thin && s.key !== 'overlay' && few ? svg('path', { class: 'dots', d: dots, style, 'stroke-width': s.x.length < 4 ? 9 : s.round ? 3 : 5 }) : null,
    ];
  }

  /** Show the cursor at an epoch, or take it away with null. */
  point(epoch) {
    if (!this.x) return;
    const left = epoch == null ? -1 : round(this.left(epoch));
    if (left < 0 || left > this.width) return this.pointer.replaceChildren();
    const dots = this.list.map((s) => {
      const value = valueAt(s, epoch);
      return Number.isFinite(value) && (!this.log || value > 0) ? svg('circle', { cx: left, cy: round(this.top(value)), r: 3.5, style: `fill:var(${s.color})` }) : null;
    });
    this.pointer.replaceChildren(svg('line', { x1: left, x2: left, y1: 0, y2: this.height }), ...dots.filter(Boolean));
  }
}
