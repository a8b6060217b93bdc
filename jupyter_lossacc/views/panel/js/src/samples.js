/** All samples of two passes, joined row by row: what became of each, and the sample itself on request. */

import { el } from './dom.js';
import { answers, ask } from './kernel.js';
import { count, number, percent, signed } from './numbers.js';
import { dataTable } from './table.js';

const KEPT = 8; // passes per run
const TYPES = { '<f8': Float64Array, '<i4': Int32Array, '<f4': Float32Array };
const GROUPS = ['stayed_right', 'became_right', 'became_wrong', 'stayed_wrong'];

// They outlive a view: the frozen copy that takes the live panel's place has them at once.
const passes = (globalThis.__lossaccRows ||= new Map());
const joined = new WeakMap();

const passKey = (run, split, epoch) => `${run}\n${split}\n${epoch}`;

/** Keep the columns of one pass, as `rows.py` packs them. */
export function takeRows(run, { split, epoch, columns }, buffers) {
  const made = { split, epoch };
  columns.forEach(([name, kind], i) => {
    const { buffer, byteOffset, byteLength } = buffers[i];
    made[name] = new TYPES[kind](buffer.slice(byteOffset, byteOffset + byteLength));
  });
  const mine = [...passes.keys()].filter((key) => key.startsWith(`${run}\n`));
  if (mine.length >= KEPT) passes.delete(mine[0]);
  passes.set(passKey(run, split, epoch), made);
  return made;
}

/** What became of a sample, as `transition_groups` in Python says it. */
function groupOf(before, after) {
  if (after > before) return 1;
  if (after < before) return 2;
  return before >= 0.5 ? 0 : 3;
}

/**
 * Join two passes on the samples that both contain.
 * @param {Record<string, any>} first
 * @param {Record<string, any>} last ids ascending in both
 */
export function join(first, last) {
  const known = joined.get(last)?.get(first);
  if (known) return known;
  const [left, right] = matched(first.id, last.id);
  const n = left.length;
  const pick = (from, rows) => from.constructor.from({ length: n }, (_, i) => from[rows[i]]);
  const made = {
    n,
    id: pick(last.id, right),
    target: pick(last.target, right),
    predicted_start: pick(first.predicted, left),
    predicted: pick(last.predicted, right),
    nll_start: pick(first.nll, left),
    nll: pick(last.nll, right),
    confidence_start: pick(first.confidence, left),
    confidence: pick(last.confidence, right),
    nll_change: new Float32Array(n),
    group: new Uint8Array(n),
    counts: [0, 0, 0, 0],
    change: 0, // of the mean loss, nats
  };
  for (let i = 0; i < n; i++) {
    made.nll_change[i] = made.nll[i] - made.nll_start[i];
    made.counts[(made.group[i] = groupOf(first.correct[left[i]], last.correct[right[i]]))] += 1;
  }
  made.change = partOf(made, made.nll_change.keys());
  if (!joined.has(last)) joined.set(last, new WeakMap());
  joined.get(last).set(first, made);
  return made;
}

/** Of every group its name, its size, and its part of the change of the mean loss. */
export function groupSums(joined) {
  const parts = [0, 0, 0, 0];
  for (let i = 0; i < joined.n; i++) parts[joined.group[i]] += joined.nll_change[i] / joined.n;
  return GROUPS.map((name, g) => [name, joined.counts[g], parts[g]]);
}

/** Rows of both sides that carry the same id; both ascending. */
function matched(a, b) {
  const [left, right] = [[], []];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      left.push(i++);
      right.push(j++);
    } else if (a[i] < b[j]) i += 1;
    else j += 1;
  }
  return [left, right];
}

/** The joined rows of a card, as new as they are here; null where there are none. */
export function rowsOf(run, card) {
  const first = passes.get(passKey(run, card.split, card.start));
  if (!first) return null;
  let last = passes.get(passKey(run, card.split, card.end));
  // While a run goes on its rows may be a few epochs behind.
  if (!last && card.live) last = [...passes].filter(([key, p]) => key.startsWith(`${run}\n${card.split}\n`) && p.epoch > card.start && p.epoch < card.end).map(([, p]) => p).sort((x, y) => y.epoch - x.epoch)[0];
  return last ? { ...join(first, last), start: first.epoch, end: last.epoch } : null;
}

/** Fetch the rows of a card that are not here yet. */
export async function fetchRows(run, card) {
  for (const epoch of [card.start, card.end]) {
    if (passes.has(passKey(run, card.split, epoch))) continue;
    const { value, buffers } = await ask(run, { what: 'rows', split: card.split, epoch });
    takeRows(run, value, buffers);
  }
}

/** What the chosen rows do to the mean loss, exactly. */
function partOf(all, rows) {
  let part = 0;
  for (const i of rows) part += all.nll_change[i];
  return part / all.n;
}

const className = (state) => (k) => state.classes[k] ?? String(k);

/**
 * The table of samples: all of them where they are here, else the ones that tell most.
 * @param {any} card
 * @param {any} state
 * @param {{tables: Record<string, any>}} view the reader's choices
 * @param {{run: string, refresh: () => void}} go
 */
export function samplesTable(card, state, view, go) {
  const choice = (view.tables.samples ??= {});
  const pair = `${card.split} ${card.start} ${card.end}`;
  if (choice.pair !== pair) Object.assign(choice, { pair, asked: false, failed: '' });
  if (choice.sort === undefined) Object.assign(choice, { sort: 'loss change', down: true });
  const running = state.status === 'running';
  const all = rowsOf(go.run, { ...card, live: running });
  if (!all && !running && answers(go.run) && !choice.failed && !choice.asked) {
    choice.asked = true;
    fetchRows(go.run, card)
      .catch((error) => (choice.failed = error.message))
      .finally(() => ((choice.asked = false), go.refresh()));
  }
  const rows = all ? fromRows(all) : card.samples ? fromCard(card.samples) : null;
  if (!rows) return [el('p', { role: 'status' }, choice.failed || (running ? 'The samples follow when the cell has ended.' : 'The samples are being fetched …'))];
  return [
    note(card, state, choice, all, go),
    all && !running && answers(go.run) ? lookButton(choice, go) : null,
    table(card, state, choice, rows, all, go),
  ];
}

function fromRows(all) {
  return { ...all, caption: `All ${count(all.n)} samples, epoch ${all.start} to ${all.end}; sort by any column`, groupName: (row) => GROUPS[all.group[row]] };
}

function fromCard({ columns }) {
  return { ...columns, n: columns.id.length, caption: 'Samples that tell most; sort by any column', groupName: (row) => columns.group[row] };
}

function note(card, state, choice, all, go) {
  if (all) return null;
  const { columns, of } = card.samples;
  const here = `${count(columns.id.length)} of ${count(of)} samples: the ones that causes name, and of each group those whose loss moved most. `;
  if (choice.failed) return el('p', { class: 'small' }, here, `The others cannot be fetched: ${choice.failed}.`);
  if (choice.asked) return el('p', { class: 'small', role: 'status' }, here, 'The others are being fetched …');
  if (state.status === 'running') return el('p', { class: 'small' }, here, 'The others follow while it runs where they are few, else when it has ended.');
  return el('p', { class: 'small' }, here, el('code', {}, `%lossacc show ${state.run.name}`), ' lists all and shows the samples themselves.');
}

function lookButton(choice, go) {
  const pressed = Boolean(choice.look);
  return el('p', {}, el('button', { class: 'btn', 'data-key': 'look', 'aria-pressed': String(pressed), onclick: () => ((choice.look = !pressed), go.refresh()) }, pressed ? 'Hide the samples themselves' : 'Show the samples themselves'), ' ', el('span', { class: 'small' }, 'read from your own dataset; the state of the random generators is put back'));
}

function table(card, state, choice, rows, all, go) {
  const name = className(state);
  const titles = Object.fromEntries((card.causes || []).map((c) => [c.id, c.title]));
  const named = new Map();
  const listed = card.samples?.columns;
  listed?.id.forEach((id, i) => listed.causes[i].length && named.set(id, listed.causes[i]));
  const causesOf = (row) => named.get(rows.id[row]) || [];
  const causes = [...new Set([...named.values()].flat())];
  const classes = [...new Set(rows.target)].sort((a, b) => a - b);
  const namedBy = { name: 'named by', values: { length: rows.n }, at: (row) => causesOf(row).map((id) => titles[id] || id).join(', '), kind: 'text', wrap: true };
  return dataTable({
    key: 'samples',
    caption: rows.caption,
    rows: rows.n,
    view: choice,
    columns: [
      { name: 'sample', values: rows.id, kind: 'id' },
      choice.look && all && { name: 'itself', kind: 'text', values: { length: rows.n }, at: () => '', node: (row) => portrait(choice, rows.id[row]) },
      { name: 'what happened', values: rows.group, kind: 'text', label: (_, row) => state.groups[rows.groupName(row)] },
      { name: 'target', values: rows.target, kind: 'text', label: name },
      { name: 'predicted', values: rows.predicted, kind: 'text', label: (v, row) => (rows.predicted_start[row] === v ? name(v) : `${name(rows.predicted_start[row])} → ${name(v)}`) },
      { name: 'loss', values: rows.nll, kind: 'number', title: 'nats, at the end' },
      { name: 'loss change', values: rows.nll_change, kind: 'signed', title: 'nats' },
      { name: 'confidence', values: rows.confidence, kind: 'percent', title: 'at the end' },
      { name: 'before', values: rows.confidence_start, kind: 'percent', title: 'confidence at the start' },
      causes.length && namedBy,
    ].filter(Boolean),
    filters: [
      { name: 'What happened', choices: Object.entries(state.groups), keep: (row, wanted) => rows.groupName(row) === wanted },
      { name: 'Class', choices: classes.map((k) => [String(k), name(k)]), keep: (row, wanted) => rows.target[row] === Number(wanted) },
      causes.length && { name: 'Cause', choices: causes.map((id) => [id, titles[id] || id]), keep: (row, wanted) => causesOf(row).includes(wanted) },
    ].filter(Boolean),
    summary: all ? (chosen) => (chosen.length < all.n ? `${count(chosen.length)} samples (${percent(chosen.length / all.n)}) change the mean loss by ${signed(partOf(all, chosen))} of ${signed(all.change)} nats.` : '') : undefined,
    shown: choice.look && all ? (page) => look(choice, all, card, page.map((row) => rows.id[row]), go) : undefined,
  });
}

/** Ask for the samples of one page that are not here yet. */
function look(choice, all, card, ids, go) {
  choice.portraits ??= new Map();
  const wanted = ids.filter((id) => !choice.portraits.has(id));
  if (!wanted.length) return;
  for (const id of wanted) choice.portraits.set(id, { text: '…' });
  ask(go.run, { what: 'look', split: card.split, epoch: all.end, ids: wanted })
    .then(({ value }) => value.forEach((p) => choice.portraits.set(p.id, p)))
    .catch((error) => wanted.forEach((id) => choice.portraits.set(id, { text: error.message })))
    .finally(go.refresh);
}

function portrait(choice, id) {
  const { text = '', png } = choice.portraits?.get(id) || {};
  return png ? el('img', { class: 'portrait', src: `data:image/png;base64,${png}`, alt: text, title: text }) : el('div', { class: 'portrait', dir: 'auto' }, text);
}
