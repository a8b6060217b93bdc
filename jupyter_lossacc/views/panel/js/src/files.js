/** Files to keep: the epochs and the samples as CSV, the findings as Markdown; and how a page gives a file away. */

import { decode } from './numbers.js';
import { groupSums, rowsOf } from './samples.js';

/** A file name from the run's name: letters and digits of any script stay. */
export const fileName = (run, what) => `${run.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^[-.]+|[-.]+$/g, '') || 'run'}-${what}`;

/** Hand a file to the reader. */
export function give(name, content, type) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: `${type};charset=utf-8` }));
  const a = document.createElement('a');
  Object.assign(a, { href: url, download: name });
  document.body.append(a);
  a.click();
  a.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function cell(value) {
  const text = String(Array.isArray(value) ? value.join(' ') : (decode(value) ?? ''));
  // A spreadsheet takes a text that begins like a formula for one.
  const safe = typeof value === 'string' && /^[=+\-@\t]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/**
 * @param {Record<string, any[]>} columns
 * @returns {string}
 */
export function csv(columns) {
  const names = Object.keys(columns);
  const rows = Array.from(columns[names[0]], (_, i) => names.map((name) => cell(columns[name][i])).join(','));
  return [names.map(cell).join(','), ...rows, ''].join('\n');
}

/** All curves as one table, a row per pass. */
export function epochTable(state) {
  const table = { epoch: [], split: [], loss_nats: [], calibrated_loss_nats: [], accuracy: [] };
  for (const curve of state.curves) {
    curve.epoch.forEach((epoch, i) => {
      const row = [epoch, curve.id, curve.loss[i], curve.calibrated[i] ?? 'nan', curve.accuracy[i]];
      Object.values(table).forEach((column, k) => column.push(row[k]));
    });
  }
  return csv(table);
}

/** Columns of a card's samples: of all where their rows are here, else of those that tell most; null without any. */
export function sampleColumns(run, card) {
  const all = card?.split && rowsOf(run, card);
  if (!all) return card?.samples?.columns;
  const names = groupSums(all).map(([name]) => name);
  const { id, target, predicted_start, predicted, nll_start, nll, nll_change, confidence_start, confidence } = all;
  return { id, group: Array.from(all.group, (g) => names[g]), target, predicted_start, predicted, nll_start, nll, nll_change, confidence_start, confidence };
}

/** The samples of a card as a table, with the names of their classes; null without any. */
export function sampleTable(run, card, state) {
  const columns = sampleColumns(run, card);
  if (!columns) return null;
  const named = (column) => Array.from(column, (k) => state.classes[k] ?? String(k));
  return csv({ ...columns, target_name: named(columns.target), predicted_name: named(columns.predicted) });
}

// ------------------------------------------------------------------ report

const bullet = (lines) => lines.filter(Boolean).map((line) => `- ${line}`).join('\n');

function causeText(cause) {
  const { experiment: e, counterfactual: c } = cause;
  return [
    `### ${cause.title} (${cause.word}${cause.share ? `, ${cause.share.text}` : ''})`,
    cause.statement,
    c && `Without it: ${c.text}.`,
    cause.action && `What to try: ${cause.action}`,
    e && `How to verify: ${e.prediction} ${e.result}`.trim(),
    e?.code && `\`\`\`python\n${e.code}\n\`\`\``,
    cause.evidence.length && ['| | evidence | here | decides at |', '|---|---|---|---|', ...cause.evidence.map((v) => `| ${v.supports ? 'for' : 'against'} | ${v.name} | ${v.value} | ${v.threshold} |`)].join('\n'),
  ];
}

function cardText(card) {
  const [supported, others] = [true, false].map((yes) => card.causes.filter((c) => (c.verdict === 'supported') === yes));
  return [
    `## ${card.title}`,
    card.lead,
    bullet(card.facts.map(([name, value, note]) => `${name}: ${value}${note ? ` (${note})` : ''}`)),
    supported.map(causeText),
    others.length && `Also examined:\n\n${bullet(others.map((c) => `${c.title}: ${c.word}. ${c.statement}`))}`,
  ];
}

/** What the panel says, as Markdown. */
export function report(state) {
  const { advice } = state;
  return [
    `# ${state.run.name}`,
    state.status_line,
    `**${state.headline.text}**`,
    advice?.line,
    bullet(state.non_finite),
    bullet(state.marks.map((m) => m.text)),
    state.cards.map(cardText),
    advice?.alternatives.length && `## Which epoch to keep\n\n${advice.reason}\n\n${bullet(advice.alternatives.map((a) => `epoch ${a.epoch} (${a.name}): accuracy ${a.accuracy}, loss ${a.loss}. ${a.cost}`))}`,
    state.limits.length && `## What could not be recorded or decided\n\n${bullet(state.limits)}`,
  ]
    .flat(Infinity)
    .filter(Boolean)
    .join('\n\n')
    .concat('\n');
}
