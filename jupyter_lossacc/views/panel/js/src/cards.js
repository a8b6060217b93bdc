/** Cards: verdict, why, what next; and the tabs with the evidence behind them. */

import { histograms, reliability, shareBar, waterfall } from './bars.js';
import { el, scroller } from './dom.js';
import { answers } from './kernel.js';
import { number, percent, points, signed } from './numbers.js';
import { samplesTable } from './samples.js';
import { dataTable } from './table.js';

const SIGNS = { supported: '✓', rejected: '✕', undecided: '?', not_tested: '–' };

/**
 * @param {any} card
 * @param {any} state
 * @param {{tab: string, tables: Record<string, any>, overlay: string|null}} view the reader's choices
 * @param {{close: () => void, page: (id: string) => void, overlay: (cause: any|null) => void,
 *   tab: (name: string) => void, samples: (cause: string) => void, run: string, refresh: () => void}} go
 */
export function cardView(card, state, view, go) {
  const tabs = tabsOf(card, state, go);
  const open = tabs.find((t) => t.id === view.tab) || tabs[0];
  const panel = el('div', { role: 'tabpanel', id: 'tabpanel', class: 'tabpanel', 'aria-labelledby': `tab-${open.id}` }, open.make(card, state, view, go));
  return el(
    'article',
    { class: `card${card.retracted ? ' retracted' : ''}${view.peek ? ' peek' : ''}`, tabindex: '-1', id: `card-${card.id}`, 'aria-labelledby': 'card-title', 'data-key': `card-${card.id}` },
    el('header', { class: 'card-head' }, el('h3', { id: 'card-title' }, card.title), el('button', { class: 'btn close', 'data-key': 'card-close', onclick: go.close }, 'Close')),
    !card.lead || card.lead === state.headline.text ? null : el('p', { class: 'lead' }, card.lead),
    card.facts.length ? facts(card.facts) : null,
    tabs.length > 1 ? tabBar(tabs, open, go) : null,
    panel,
    view.peek ? el('div', { class: 'more', 'aria-hidden': 'true' }, el('button', { class: 'btn', tabindex: '-1' }, 'Show the whole card')) : null,
  );
}

function facts(rows) {
  return el('dl', { class: 'facts' }, rows.map(([name, value, note]) => el('div', {}, el('dt', {}, name), el('dd', {}, el('b', {}, value), note ? el('span', { class: 'note' }, note) : null))));
}

function tabsOf(card, state, go) {
  return [
    (card.id !== 'pair' || card.waterfall || card.histogram) && { id: 'why', name: card.id === 'pair' ? 'Change' : 'Why', make: why },
    (card.samples || (card.split && answers(go.run))) && { id: 'samples', name: 'Samples', make: samples },
    (card.classes || card.confusions) && { id: 'classes', name: 'Classes', make: classes },
    (card.ends || card.reliability) && { id: 'details', name: 'Details', make: details },
    card.id === 'run' && state.rate_changes.length && { id: 'details', name: 'Details', make: runDetails },
  ].filter(Boolean);
}

function tabBar(tabs, open, go) {
  const onKey = (i) => (e) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[e.key];
    if (to == null) return;
    e.preventDefault();
    go.tab(tabs[(to + tabs.length) % tabs.length].id, true);
  };
  return el(
    'div',
    { role: 'tablist', class: 'tabs', 'aria-label': 'Evidence' },
    tabs.map((t, i) => el('button', { role: 'tab', id: `tab-${t.id}`, 'data-key': `tab-${t.id}`, 'aria-selected': String(t === open), 'aria-controls': 'tabpanel', tabindex: t === open ? '0' : '-1', onclick: () => go.tab(t.id, true), onkeydown: onKey(i) }, t.name)),
  );
}

// ------------------------------------------------------------------ Why

function why(card, state, view, go) {
  const supported = card.causes.filter((c) => c.verdict === 'supported');
  const others = card.causes.filter((c) => c.verdict !== 'supported');
  const kindPage = card.kind && state.pages[card.kind];
  const causes = el(
    'div',
    { class: 'causes' },
    supported.map((c, i) => causeView(c, card, state, view, go, i + 1)),
    !supported.length && card.causes.length ? el('p', {}, none(card, state)) : null,
    others.length ? el('section', { class: 'others' }, el('h4', {}, supported.length ? 'Also examined' : 'Examined'), others.map((c) => otherView(c, card, state, view, go))) : null,
  );
  const aside = el(
    'div',
    { class: 'aside' },
    card.waterfall ? waterfall(card.waterfall, `Where the ${card.waterfall.loss || 'loss'} change from epoch ${card.waterfall.start} to ${card.waterfall.end} comes from`) : null,
    card.waterfall?.aside ? el('p', { class: 'small' }, card.waterfall.aside) : null,
    card.histogram ? histograms(card.histogram, card.start, card.end) : null,
    kindPage ? el('p', {}, pageLink(card.kind, `About this pattern: ${kindPage.title}`, go)) : null,
    card.limits.length ? el('ul', { class: 'limits' }, card.limits.map((line) => el('li', {}, line))) : null,
  );
  if (!card.causes.length) return el('div', { class: 'columns' }, [...aside.childNodes]);
  return aside.childNodes.length ? el('div', { class: 'columns' }, causes, aside) : causes;
}

/** Nothing explains these epochs; what was found about the whole run may. */
function none(card, state) {
  const whole = state.cards.find((c) => c.id === 'run' && c.found);
  const more = whole && card.id !== 'run' ? ` The whole run has a finding that may be the reason: ${whole.brief}.` : '';
  return `No examined cause is supported by these records.${more}`;
}

function badge(cause) {
  return el('span', { class: `badge is-${cause.verdict}` }, el('span', { 'aria-hidden': 'true' }, `${SIGNS[cause.verdict]} `), cause.word);
}

function causeView(cause, card, state, view, go, rank) {
  const head = el('h4', {}, el('span', { class: 'rank' }, `${rank}. `), cause.title, ' ', badge(cause));
  const lead = [cause.share ? el('div', { class: 'share-row' }, shareBar(cause.share), el('span', {}, cause.share.text)) : null, cause.statement ? el('p', {}, cause.statement) : null];
  // The first cause is laid out; of the others the statement, and the rest on request.
  const rest = body(cause, card, state, view, go);
  return el('section', { class: 'cause' }, head, lead, rank === 1 ? rest : el('details', { 'data-key': `more-${card.id}-${cause.id}` }, el('summary', { onclick: draws(cause, view, go) }, 'What to try, evidence, how to verify'), rest));
}

/** Who opens a cause sees in the chart what it would leave; what only a repaint opens does not count. */
const draws = (cause, view, go) => (e) => {
  if (!e.currentTarget.parentNode.open && cause.overlay && view.overlay !== cause.id) setTimeout(() => go.overlay(cause));
};

function otherView(cause, card, state, view, go) {
  return el('details', { 'data-key': `cause-${card.id}-${cause.id}`, class: 'other' }, el('summary', { onclick: draws(cause, view, go) }, badge(cause), ' ', el('span', {}, cause.title)), cause.statement ? el('p', {}, cause.statement) : null, body(cause, card, state, view, go));
}

function body(cause, card, state, view, go) {
  return el(
    'div',
    { class: 'cause-body' },
    counterfactual(cause, view, go),
    labelled('What to try', cause.action),
    experiment(cause),
    cause.evidence.length ? evidence(cause) : null,
    named(cause, card, go),
    state.pages[cause.id] ? el('p', {}, pageLink(cause.id, `Read about it: ${state.pages[cause.id].title}`, go)) : null,
  );
}

function labelled(name, text) {
  return text ? el('p', {}, el('strong', { class: 'label' }, name), ' ', text) : null;
}

function counterfactual(cause, view, go) {
  if (!cause.counterfactual && !cause.overlay && !cause.without) return null;
  const on = view.overlay === cause.id;
  return el(
    'p',
    {},
    cause.counterfactual || cause.without ? [el('strong', { class: 'label' }, 'Without it'), ` ${cause.counterfactual?.text || cause.without}. `] : null,
    cause.overlay ? el('button', { class: 'btn inline', 'aria-pressed': String(on), 'data-key': `overlay-${cause.id}`, onclick: () => go.overlay(on ? null : cause) }, on ? 'Hide in the chart' : 'Show in the chart') : null,
  );
}

function evidence(cause) {
  const row = (e) => el('tr', {}, el('td', { class: e.supports ? 'for' : 'against' }, e.supports ? '▲ for' : '▽ against'), el('th', { scope: 'row' }, e.name), el('td', {}, e.value), el('td', { class: 'threshold' }, e.threshold));
  const pro = cause.evidence.filter((e) => e.supports).length;
  const ranked = [...cause.evidence].sort((a, b) => Number(b.supports) - Number(a.supports));
  return scroller(`Evidence for ${cause.title}`, el('table', { class: 'evidence' }, el('caption', {}, `Evidence: ${pro} for, ${cause.evidence.length - pro} against`), el('thead', {}, el('tr', {}, ['speaks', 'what', 'here', 'decides at'].map((h, i) => el('th', { scope: 'col', class: i < 2 && 'left' }, h)))), el('tbody', {}, ranked.map(row))));
}

function experiment(cause) {
  const e = cause.experiment;
  if (!e) return null;
  const done = el('span', { role: 'status', class: 'small' });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(e.code);
      done.textContent = ' copied';
    } catch {
      done.textContent = ' select the code and copy it';
    }
  };
  return el(
    'div',
    { class: 'experiment' },
    labelled('How to verify', e.prediction),
    labelled('Result', e.result),
    e.code ? el('details', { 'data-key': `code-${cause.id}` }, el('summary', {}, 'Code to paste'), el('pre', { tabindex: '0', 'aria-label': 'Code to paste' }, el('code', {}, e.code)), el('p', {}, el('button', { class: 'btn', 'data-key': `copy-${cause.id}`, onclick: copy }, 'Copy code'), done)) : null,
  );
}

function named(cause, card, go) {
  if (!cause.samples.length) return null;
  const ids = cause.samples.join(', ');
  return el('p', {}, el('strong', { class: 'label' }, 'Samples to look at'), ` ${ids} `, card.samples ? el('button', { class: 'btn inline', 'data-key': `named-${cause.id}`, onclick: () => go.samples(cause.id) }, 'Show them') : null);
}

function pageLink(id, text, go) {
  return el('a', { href: `#lossacc-page-${id}`, class: 'link', 'data-key': `link-${id}`, onclick: (e) => (e.preventDefault(), go.page(id)) }, text);
}

// ------------------------------------------------------------------ Samples

function samples(card, state, view, go) {
  const counts = card.samples ? Object.entries(card.samples.groups).map(([g, n]) => `${n.toLocaleString('en-US')} ${state.groups[g]}`) : null;
  return [
    counts ? el('p', {}, `Of ${card.samples.of.toLocaleString('en-US')} samples, from epoch ${card.start} to ${card.end}: ${counts.join(', ')}.`) : null,
    card.histogram ? histograms(card.histogram, card.start, card.end) : null,
    samplesTable(card, state, view, go),
  ];
}

const className = (state) => (k) => state.classes[k] ?? String(k);

// ------------------------------------------------------------------ Classes

function classes(card, state, view) {
  const name = className(state);
  const made = [];
  if (card.classes) {
    const { columns, hidden } = card.classes;
    view.tables.classes ??= {};
    made.push(
      dataTable({
        key: 'classes',
        caption: `Classes at epoch ${card.end}; Δ: change since epoch ${card.start}, in points or nats`,
        rows: columns.class.length,
        view: view.tables.classes,
        columns: [
          { name: 'class', values: columns.class, kind: 'text', label: name },
          { name: 'samples', values: columns.support, kind: 'count' },
          { name: 'recall', values: columns.recall, kind: 'percent' },
          { name: 'Δ recall', values: columns.recall_change, kind: 'points', title: 'change in percentage points' },
          { name: 'precision', values: columns.precision, kind: 'percent' },
          { name: 'Δ precision', values: columns.precision_change, kind: 'points', title: 'change in percentage points' },
          { name: 'F1', values: columns.f1, kind: 'percent' },
          { name: 'Δ F1', values: columns.f1_change, kind: 'points', title: 'change in percentage points' },
          { name: 'loss, nats', values: columns.nll, kind: 'number' },
          { name: 'Δ loss', values: columns.nll_change, kind: 'signed', title: 'change in nats' },
        ],
      }),
      hidden ? el('p', { class: 'small' }, `${hidden} classes that changed less are not listed.`) : null,
    );
  }
  if (card.confusions && card.confusions.columns.target.length) {
    const { columns } = card.confusions;
    view.tables.confusions ??= {};
    made.push(
      dataTable({
        key: 'confusions',
        caption: 'Confusions whose number changed most',
        rows: columns.target.length,
        view: view.tables.confusions,
        columns: [
          { name: 'target', values: columns.target, kind: 'text', label: name },
          { name: 'taken for', values: columns.predicted, kind: 'text', label: name },
          { name: `epoch ${card.start}`, values: columns.start, kind: 'count' },
          { name: `epoch ${card.end}`, values: columns.end, kind: 'count' },
          { name: 'change', values: columns.change, kind: 'signed' },
        ],
      }),
    );
  }
  return made;
}

// ------------------------------------------------------------------ Details

function details(card) {
  return [
    card.reliability ? reliability(card.reliability, card.start, card.end) : null,
    card.ends ? endsTable(card.ends) : null,
  ];
}

function endsTable({ start, end, rows }) {
  const write = { nats: number, share: percent, 1: number };
  const change = { nats: signed, share: (v) => `${points(v)} points`, 1: signed };
  const difference = (row) => (typeof row.start === 'number' && typeof row.end === 'number' ? change[row.unit](row.end - row.start) : '–');
  return scroller(
    'Metrics at both ends',
    el(
      'table',
      { class: 'table' },
      el('caption', {}, 'Metrics at both ends'),
      el('thead', {}, el('tr', {}, ['', `epoch ${start}`, `epoch ${end}`, 'change'].map((h) => (h ? el('th', { scope: 'col' }, h) : el('td', {}))))),
      el('tbody', {}, rows.map((row) => el('tr', {}, el('th', { scope: 'row' }, row.name + (row.unit === 'nats' ? ', nats' : '')), el('td', {}, write[row.unit](row.start)), el('td', {}, write[row.unit](row.end)), el('td', {}, difference(row))))),
    ),
  );
}

function runDetails(card, state) {
  return el('ul', {}, state.rate_changes.map((change) => el('li', {}, `Epoch ${number(change.x)}: ${change.text}.`)));
}

// ------------------------------------------------------------------ Which epoch to keep

/** The advice as a card of its own. */
export function adviceView(advice, go) {
  const heads = ['epoch', '', 'accuracy', 'loss', 'calibrated', 'accuracy, kept minus this', 'calibrated loss, kept minus this'];
  const row = (a) => el('tr', {}, el('th', { scope: 'row' }, String(a.epoch)), el('td', { class: 'left' }, a.name), el('td', {}, a.accuracy), el('td', {}, a.loss), el('td', {}, a.calibrated), el('td', {}, a.accuracy_difference), el('td', {}, a.loss_difference));
  return el(
    'article',
    { class: 'card', tabindex: '-1', id: 'card-keep', 'aria-labelledby': 'card-title', 'data-key': 'card-keep' },
    el('header', { class: 'card-head' }, el('h3', { id: 'card-title' }, 'Which epoch to keep'), el('button', { class: 'btn close', 'data-key': 'card-close', onclick: go.close }, 'Close')),
    el('p', { class: 'lead' }, advice.reason),
    advice.stop_reason ? el('p', {}, advice.stop_reason) : null,
    advice.alternatives.length
      ? scroller('Other epochs', el('table', { class: 'table' }, el('caption', {}, 'What other epochs would give (95 % intervals, same samples)'), el('thead', {}, el('tr', {}, heads.map((h) => (h ? el('th', { scope: 'col' }, h) : el('td', {}))))), el('tbody', {}, advice.alternatives.map(row))))
      : null,
    advice.alternatives.some((a) => a.cost) ? el('ul', {}, advice.alternatives.filter((a) => a.cost).map((a) => el('li', {}, a.cost))) : null,
    advice.optimism ? el('p', { class: 'small' }, advice.optimism) : null,
  );
}
