/** The line that says how far the run is, and what was just done. */

import { el } from './dom.js';
import { count, duration, number } from './numbers.js';

const MOMENT = 4000; // ms that a message stays which asks for nothing

export class StatusLine {
  /** @param {any} store */
  constructor(store) {
    this.store = store;
    this.message = '';
    this.line = el('div', { class: 'status' });
    this.meter = el('div', { class: 'meter', role: 'progressbar', 'aria-label': 'Batches of this pass', 'aria-valuemin': 0 }, el('i'));
    this.spoken = el('span', { class: 'hidden', role: 'status', 'aria-live': 'polite' });
  }

  paint() {
    const { state, progress, acknowledged } = this.store;
    const running = state.status === 'running';
    this.meter.hidden = !running;
    const text = running && progress.epoch != null ? this.progress(progress) : state.status_line;
    // Until the epoch ends there is still something to watch.
    const goesOn = running && acknowledged === 'epoch';
    this.line.textContent = this.message ? `${this.message}${goesOn ? ` ${text.replace('Running · ', '')}` : ''}` : text;
    this.line.dataset.status = state.status;
  }

  progress({ epoch, batch, batches, split, rate, left, lr }) {
    this.meter.firstChild.style.width = `${batches ? Math.min(100, (100 * batch) / batches) : 0}%`;
    this.meter.setAttribute('aria-valuemax', batches || 1);
    this.meter.setAttribute('aria-valuenow', batches ? batch : 0);
    return [
      'Running',
      `epoch ${epoch}`,
      split && split !== 'train' && `evaluating (${split})`,
      batch != null && `batch ${count(batch)}${batches ? ` of ${count(batches)}` : ''}`,
      left != null && `${duration(left)} left in this epoch`,
      rate && `${count(rate)} samples/s`,
      lr != null && `learning rate ${number(lr)}`,
    ]
      .filter(Boolean)
      .join(' · ');
  }

  /** Say something until it is answered, or until the run is over. */
  say(text) {
    this.message = text;
    this.speak(text);
    this.paint();
  }

  /** Say something that is over in a moment. */
  whisper(text) {
    this.say(text);
    setTimeout(() => this.message === text && this.say(''), MOMENT);
  }

  /** For screen readers only. */
  speak(text) {
    this.spoken.textContent = text;
  }
}
