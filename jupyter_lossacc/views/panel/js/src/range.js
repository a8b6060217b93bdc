/** Two handles under the epoch axis: the epochs that are compared. */

import { el } from './dom.js';
import { SPACE } from './plot.js';

const NAMES = ['First epoch to compare', 'Second epoch to compare'];
const LEAP = 10; // epochs per Page Up

export class EpochRange {
  /**
   * @param {{left: (epoch: number) => number, width: number}} plot the chart above
   * @param {{choose: (pair: [number, number]) => void, describe: (epoch: number) => string}} hooks
   */
  constructor(plot, hooks) {
    Object.assign(this, { plot, hooks, epochs: [], pair: null });
    this.between = el('span', { class: 'between' });
    this.handles = NAMES.map((name, i) => el('span', { class: 'handle', role: 'slider', tabindex: '0', 'aria-label': name, 'data-key': `handle-${i}`, onkeydown: (e) => this.onKey(e, i) }));
    this.track = el('div', { class: 'track' }, this.between, this.handles);
    this.node = el('div', { class: 'range', role: 'group', 'aria-label': 'Compare two epochs' }, this.track);
    this.listen();
  }

  /** Place the handles; `epochs` are those that can be chosen, ascending. */
  show(epochs, pair) {
    this.node.hidden = epochs.length < 2;
    if (this.node.hidden) return;
    this.epochs = epochs;
    this.pair = pair;
    const { width } = this.plot;
    Object.assign(this.track.style, { marginLeft: `${SPACE.left}px`, width: `${width}px` });
    const at = pair.map((epoch) => Math.min(width, Math.max(0, this.plot.left(epoch))));
    Object.assign(this.between.style, { left: `${at[0]}px`, width: `${at[1] - at[0]}px` });
    this.handles.forEach((handle, i) => {
      const limits = i ? [epochs[epochs.indexOf(pair[0]) + 1], epochs.at(-1)] : [epochs[0], epochs[epochs.indexOf(pair[1]) - 1]];
      const values = { valuemin: limits[0], valuemax: limits[1], valuenow: pair[i], valuetext: this.hooks.describe(pair[i]) };
      for (const [name, value] of Object.entries(values)) handle.setAttribute(`aria-${name}`, value);
      handle.textContent = pair[i];
      handle.style.left = `${at[i]}px`;
    });
  }

  /** Move a handle to the epoch nearest to `epoch`; the two never meet. */
  move(i, epoch) {
    const { epochs, pair } = this;
    const free = epochs.filter((e) => (i ? e > pair[0] : e < pair[1]));
    const to = free.reduce((best, e) => (Math.abs(e - epoch) < Math.abs(best - epoch) ? e : best));
    if (to !== pair[i]) this.hooks.choose(i ? [pair[0], to] : [to, pair[1]]);
  }

  onKey(event, i) {
    const { epochs, pair } = this;
    const now = epochs.indexOf(pair[i]);
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - LEAP, PageUp: now + LEAP, Home: 0, End: epochs.length - 1 }[event.key];
    if (to == null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(i, epochs[Math.min(epochs.length - 1, Math.max(0, to))]);
  }

  listen() {
    const { track } = this;
    let held = null;
    const epochOf = (e) => this.plot.epochAt(e.clientX - track.getBoundingClientRect().left);
    track.addEventListener('pointerdown', (e) => {
      if (e.button !== 0) return;
      const hit = this.handles.indexOf(e.target);
      const epoch = epochOf(e);
      held = hit >= 0 ? hit : Math.abs(epoch - this.pair[0]) < Math.abs(epoch - this.pair[1]) ? 0 : 1;
      e.preventDefault();
      this.handles[held].focus({ preventScroll: true });
      track.setPointerCapture(e.pointerId);
      if (hit < 0) this.move(held, epoch);
    });
    track.addEventListener('pointermove', (e) => held != null && this.move(held, epochOf(e)));
    for (const end of ['pointerup', 'pointercancel']) track.addEventListener(end, () => (held = null));
  }
}
