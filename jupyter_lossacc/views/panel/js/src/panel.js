/** One view of the panel: puts the parts together and keeps what the reader chose. */

import { adviceView, cardView } from './cards.js';
import { Charts } from './charts.js';
import { el, renew } from './dom.js';
import { fillLegend, readAloud } from './legend.js';
import { GLYPHS } from './overlay.js';
import { pageView } from './page.js';
import { Pairs, choices as epochChoices, describe, namedChoice } from './pair.js';
import { pictureOf } from './picture.js';
import { EpochRange } from './range.js';
import { saveMenu } from './save.js';
import { StatusLine } from './status.js';
import { stopper } from './stop.js';
import style from './style.css';
import { watchTheme } from './theme.js';

const TONES = { problem: '▲', watch: '◆', good: '✓', quiet: '·' };
const CALM = '(prefers-reduced-motion: reduce)';

// Choices outlive a view: the frozen copy that replaces the live panel takes them up.
const choices = (globalThis.__lossaccChoices ||= {});

export class PanelView {
  constructor(model, store, root) {
    this.model = model;
    this.store = store;
    this.choice = choices[model.get('run')] ||= { card: undefined, page: null, tab: 'why', log: false, zoom: null, compared: null, pair: null, overlay: undefined, tables: {} };
    this.alive = true;
    this.dirty = false;
    // Notebook 7 puts an output of more than 1,820 px into a low box that scrolls: there the card of a finished
    // run is shown in part, until the reader turns to it.
    this.peek = 'notebook' in document.body.dataset;
    this.epoch = null;
    // A shadow root keeps the page's styles out; with it, the attribute keeps JupyterLab's
    // command-mode shortcuts (b, x, d d) from firing while focus is inside.
    const host = el('div', { 'data-lm-suppress-shortcuts': 'true', class: 'lossacc-host' });
    root.append(host);
    const shadow = host.attachShadow({ mode: 'open' });
    // A group and no landmark: a notebook may show the same run in several cells.
    this.panel = el('div', { class: 'la', role: 'group' });
    shadow.append(el('style', {}, style), this.panel);
    this.build();
    this.stopWatching = watchTheme(this.panel);
    this.listener = (what) => this.heard(what);
    store.listeners.add(this.listener);
    this.paint();
  }

  get state() {
    return this.store.state;
  }

  get running() {
    return this.state.status === 'running';
  }

  build() {
    const button = (name, onclick, props = {}) => el('button', { class: 'btn', onclick, ...props }, name);
    this.status = new StatusLine(this.store);
    this.log = button('Log loss', () => this.setLog(!this.choice.log), { 'aria-pressed': String(this.choice.log) });
    this.reset = button('Reset zoom', () => this.charts.resetZoom());
    const stop = { model: this.model, store: this.store, running: () => this.running, say: (text) => this.status.say(text) };
    this.stops = el('span', { class: 'stops' }, button('Stop', stopper(stop), { class: 'btn stop' }), button('Stop after this epoch', stopper(stop, 'epoch'), { class: 'btn stop later' }));
    const save = saveMenu({
      run: this.model.get('run'),
      picture: () => pictureOf(this.panel, this.charts, this.state),
      state: () => this.state,
      card: () => this.contentOf(this.choice.card),
      say: (text) => this.status.whisper(text),
    });
    this.name = el('strong', { class: 'name', dir: 'auto' });
    this.headline = el('div', { class: 'headline', role: 'status' });
    this.advice = el('p', { class: 'advice' });
    this.verdict = el('div', { class: 'verdict' }, this.headline, this.advice);
    this.marks = el('ul', { class: 'marks', 'aria-label': 'Marks in the charts' });
    this.chips = el('ol', { class: 'chips', 'aria-label': 'Findings' });
    const turned = () => !this.running && this.showWhole();
    this.slot = el('div', { class: 'slot', onfocusin: turned, onpointerdown: turned });
    this.slot.addEventListener('scroll', turned, true); // what the browser itself searches for, too
    this.limits = el('div', { class: 'footer' });
    const charts = el('div', { class: 'charts' });
    this.panel.append(
      el('header', { class: 'head' }, el('span', { class: 'brand' }, 'lossacc'), this.name, el('span', { class: 'gap' }), el('span', { class: 'tools' }, this.log, this.reset, save), this.stops),
      this.status.line,
      this.status.meter,
      this.verdict,
      charts,
      this.marks,
      this.chips,
      this.slot,
      this.limits,
      this.status.spoken,
    );
    this.pairs = new Pairs(this.model.get('run'), () => this.state, () => this.alive && this.paintSlot());
    this.charts = new Charts(charts, this.store, this.choice, {
      openCard: (id) => this.open(id, true),
      cursor: (epoch) => this.showEpoch(epoch),
      viewChanged: () => this.showZoom(),
      drawn: () => this.paintRange(),
      announce: (epoch) => {
        this.status.speak(readAloud(this.charts.lists, epoch));
      },
    });
    this.range = new EpochRange(this.charts.plots[1], {
      choose: (pair) => this.compare(pair),
      describe: (epoch) => describe(this.state, epoch),
    });
    charts.append(this.range.node);
  }

  /** A message came; draw at the next frame, once. */
  heard(what) {
    if (what === 'ack') return this.status.say(this.store.acknowledged === 'epoch' ? 'Stopping at the end of this epoch …' : 'Stopping after this step …');
    if (what === 'rows') return this.choice.tab === 'samples' && this.repaintSlot();
    if (what === 'state') this.stale = true;
    if (this.dirty || !this.alive) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      if (!this.alive) return;
      if (this.stale) this.paint();
      else this.paintLive();
    });
  }

  /** Only curves and progress moved. */
  paintLive() {
    this.charts.update();
    this.showEpoch(this.epoch);
    this.status.paint();
  }

  paint() {
    this.stale = false;
    const { state, panel } = this;
    panel.dataset.running = String(this.running);
    panel.setAttribute('aria-label', `Loss and accuracy of run ${state.run.name}`);
    this.name.textContent = state.run.name;
    this.stops.hidden = !this.running;
    if (!this.running) this.status.message = '';
    this.suggest();
    this.status.paint();
    this.paintHeadline();
    this.applyOverlay();
    this.charts.openCard = this.choice.card;
    this.charts.update();
    this.showEpoch(this.epoch);
    this.showZoom();
    this.paintMarks();
    this.paintChips();
    this.paintSlot();
    this.paintLimits();
  }

  /** When the run is over and the reader has opened nothing, open what matters most. */
  suggest() {
    const { card, tone } = this.state.headline;
    if (this.choice.card === undefined && !this.running && tone !== 'good') this.choice.card = card;
  }

  paintHeadline() {
    const { text, tone, card } = this.state.headline;
    const why = card ? el('a', { href: `#card-${card}`, class: 'why', 'data-key': 'headline-why', onclick: (e) => (e.preventDefault(), this.open(card, true)) }, 'Why?') : null;
    const key = JSON.stringify([text, tone, card]);
    if (key !== this.headlineKey) {
      this.headlineKey = key;
      this.headline.dataset.tone = tone;
      // The first sentence is the verdict; what it rests on, where there is more, stands out less.
      const end = text.search(/\. [A-Z]/) + 1 || text.length;
      renew(this.headline, el('span', { class: 'tone', 'aria-hidden': 'true' }, TONES[tone]), el('p', {}, text.slice(0, end), el('span', {}, text.slice(end)), ' ', why));
    }
    this.advice.textContent = this.state.advice?.line || '';
    this.advice.hidden = !this.advice.textContent && !this.running;
    const broken = this.state.non_finite.join(' ');
    if (broken) this.advice.append(el('span', { class: 'broken-note' }, ` ✕ ${broken}`));
    if (broken) this.advice.hidden = false;
    this.hold(this.verdict);
  }

  /** While the run goes on, room once taken stays taken: nothing below may jump back and forth. */
  hold(node) {
    node.style.minHeight = '';
    if (!this.running) return;
    const tall = Math.max(Number(node.dataset.tall || 0), node.offsetHeight);
    node.dataset.tall = String(tall);
    node.style.minHeight = `${tall}px`;
  }

  paintMarks() {
    const { marks, rate_changes: rates, references } = this.state;
    const items = marks.map((m) => el('li', {}, el('span', { class: `mark-${m.shape}`, 'aria-hidden': 'true' }, GLYPHS[m.shape]), ` ${m.text}`));
    if (rates.length) {
      const said = rates.length === 1 ? rates[0].text : `${rates.length} changes of the learning rate`;
      items.push(el('li', {}, el('span', { class: 'mark-rate', 'aria-hidden': 'true' }, '┊'), ` ${said}`));
    }
    for (const r of references) items.push(el('li', { title: r.title }, el('span', { class: 'mark-reference', 'aria-hidden': 'true' }, '┄'), ` ${r.label}`));
    this.marks.replaceChildren(...items);
  }

  paintChips() {
    const { bands, cards, advice, compare } = this.state;
    const chip = (id, text, classes, title) =>
      el('li', {}, el('a', { href: `#card-${id}`, class: `chip ${classes}`, title, 'data-key': `chip-${id}`, 'aria-expanded': String(this.choice.card === id), onclick: (e) => (e.preventDefault(), this.open(id, true)) }, text));
    const items = bands.map((b) => chip(b.id, [el('b', {}, b.short), el('span', {}, `${b.split_word} ${b.open ? `since ${b.start}` : `${b.start}–${b.end}`}`)], `tone-${b.tone} kind-${b.kind}${b.retracted ? ' retracted' : ''}`, b.title));
    const run = cards.find((c) => c.id === 'run');
    if (run) items.push(chip('run', [el('b', {}, 'whole run'), el('span', {}, run.brief)], run.tone, run.title));
    if (advice?.epoch != null) items.push(chip('keep', [el('b', {}, 'which epoch to keep'), el('span', {}, String(advice.epoch))], 'tone-none'));
    if (compare && epochChoices(this.state).length > 1) items.push(chip('pair', [el('b', {}, 'compare two epochs'), el('span', {}, this.pair().join(' → '))], 'tone-none'));
    if (!bands.length) items.unshift(el('li', { class: 'quiet-note' }, this.state.quiet));
    renew(this.chips, items);
  }

  paintSlot() {
    const { card: id, page } = this.choice;
    if (id === 'pair') this.pairs.want(this.pair());
    const key = JSON.stringify([id, page, this.choice.tab, this.choice.overlay, this.contentOf(id), this.state.pages[page]?.title, Object.keys(this.state.pages).length]);
    if (key === this.slotKey) return;
    this.slotKey = key;
    renew(this.slot, this.slotView(id, page));
  }

  /** Something beside the state came: rows, a picture. */
  repaintSlot() {
    this.slotKey = null;
    if (this.alive) this.paintSlot();
  }

  contentOf(id) {
    if (id === 'pair') return this.state.compare && this.pairs.card(this.pair());
    return id === 'keep' ? this.state.advice : this.state.cards.find((c) => c.id === id);
  }

  slotView(id, page) {
    const content = id && this.contentOf(id);
    if (!content) return [];
    if (page && this.state.pages[page]) {
      return pageView(page, this.state.pages[page], { back: () => this.openPage(null), has: (p) => p in this.state.pages, open: (p) => this.openPage(p) });
    }
    if (id === 'keep') return adviceView(content, { close: () => this.open(null) });
    const card = cardView(content, this.state, { ...this.choice, peek: this.peek }, {
      close: () => this.open(null),
      page: (p) => this.openPage(p),
      overlay: (cause) => this.setOverlay(cause ? cause.id : null),
      tab: (tab, focus) => this.openTab(tab, focus),
      run: this.model.get('run'),
      refresh: () => this.repaintSlot(),
      samples: (cause) => {
        this.choice.tables.samples = { filters: { Cause: cause }, page: 0 };
        this.openTab('samples', true);
      },
    });
    if (id === 'pair') {
      const pair = this.pair();
      const set = (i, epoch) => this.compare(i ? [pair[0], epoch] : [epoch, pair[1]]);
      card.querySelector('.card-head').after(namedChoice(this.state, pair, set));
    }
    return card;
  }

  paintLimits() {
    const { limits } = this.state;
    const box = limits.length ? el('details', { 'data-key': 'limits', class: 'limits' }, el('summary', {}, `What could not be recorded or decided (${limits.length})`), el('ul', {}, limits.map((line) => el('li', {}, line)))) : null;
    renew(this.limits, box);
  }

  // ---------------------------------------------------------------- two epochs compared

  /** The epochs to compare: what the reader chose, else the first and the newest. */
  pair() {
    const epochs = epochChoices(this.state);
    return this.choice.pair || [epochs[0], epochs.at(-1)];
  }

  paintRange() {
    const on = this.choice.card === 'pair';
    this.choice.compared = on ? this.pair() : null;
    this.range?.show(epochChoices(this.state), this.pair());
  }

  compare(pair) {
    this.choice.pair = this.choice.compared = pair;
    if (this.choice.card !== 'pair') this.open('pair');
    else {
      this.charts.draw();
      this.paintChips();
      this.paintSlot();
    }
  }

  // ---------------------------------------------------------------- what the reader does

  /** Open a card by id, or close with null. */
  open(id, focus = false) {
    const from = this.choice.card;
    if (id !== from) Object.assign(this.choice, { tab: 'why', page: null, overlay: undefined, tables: {} });
    this.choice.card = id;
    this.peek &&= this.running;
    this.choice.compared = id === 'pair' ? this.pair() : null;
    this.applyOverlay();
    this.charts.setOpen(id);
    this.paintChips();
    this.paintSlot();
    if (!id) this.panel.querySelector(`[data-key="chip-${CSS.escape(from || '')}"]`)?.focus({ preventScroll: true });
    else if (focus) this.focusSlot();
  }

  /** The reader turned to a card that had opened by itself. */
  showWhole() {
    this.peek = false;
    this.slot.querySelector('.peek')?.classList.remove('peek');
  }

  focusSlot() {
    const card = this.slot.firstElementChild;
    if (!card) return;
    card.focus({ preventScroll: true });
    card.scrollIntoView({ block: 'nearest', behavior: matchMedia(CALM).matches ? 'auto' : 'smooth' });
  }

  openPage(page) {
    const from = this.choice.page;
    this.choice.page = page;
    this.paintSlot();
    if (page) this.focusSlot();
    else this.slot.querySelector(`[data-key="link-${CSS.escape(from || '')}"]`)?.focus();
  }

  openTab(tab, focus) {
    this.choice.tab = tab;
    this.paintSlot();
    if (focus) this.panel.querySelector(`[data-key="tab-${tab}"]`)?.focus({ preventScroll: true });
  }

  /** Choose the cause whose counterfactual is drawn; undefined leaves it to the card. */
  setOverlay(id) {
    this.choice.overlay = id;
    this.applyOverlay();
    this.paintSlot();
  }

  applyOverlay() {
    const card = this.state.cards.find((c) => c.id === this.choice.card);
    const wanted = this.choice.overlay;
    if (wanted === undefined && card) {
      // What the first supported cause would leave is drawn at once, unless that line is there already.
      const first = card.causes.find((c) => c.verdict === 'supported' && c.overlay);
      if (first && !this.drawn(card.split, first.overlay)) this.choice.overlay = first.id;
    }
    const cause = card?.causes.find((c) => c.id === this.choice.overlay);
    const next = cause?.overlay || null;
    if (JSON.stringify(next) === JSON.stringify(this.charts.overlay)) return;
    const { x, y, label } = next || {};
    this.charts.setOverlay(next && { x, y, label });
    this.showEpoch(this.epoch);
  }

  /** Whether an overlay only repeats the calibrated curve of its split. */
  drawn(split, overlay) {
    const curve = this.state.curves.find((c) => c.id === split);
    return Boolean(curve) && overlay.x.every((x, i) => curve.calibrated[curve.epoch.indexOf(x)] === overlay.y[i]);
  }

  setLog(log) {
    this.log.setAttribute('aria-pressed', String(log));
    this.charts.setLog(log);
  }

  showZoom() {
    this.reset.disabled = !this.choice.zoom;
    this.log.setAttribute('aria-pressed', String(this.choice.log));
  }

  showEpoch(epoch) {
    this.epoch = epoch;
    for (const pane of ['loss', 'accuracy']) {
      if (this.charts.lists[pane]) fillLegend(this.charts.heads[pane], pane, this.charts.lists[pane], epoch, pane === 'loss' ? this.store.state.words.unit : '');
    }
  }

  destroy() {
    this.alive = false;
    this.store.listeners.delete(this.listener);
    this.stopWatching();
    this.charts.destroy();
  }
}
