/** Tables that sort, filter and page in the browser, over the rows they were given. */

import { el, scroller } from './dom.js';
import { count, decode, number, percent, points, signed } from './numbers.js';

const PAGE = 15;

const WRITE = {
  number,
  count,
  percent,
  signed,
  points,
  id: (v) => String(v),
  text: (v) => String(v ?? '–'),
};

/** Order of two cells: numbers by size, what is not finite last, text by the reader's alphabet. */
export function compare(a, b) {
  const [x, y] = [decode(a), decode(b)];
  if (typeof x === 'number' && typeof y === 'number') {
    const [fx, fy] = [Number.isFinite(x), Number.isFinite(y)];
    if (fx && fy) return x - y;
    return fx === fy ? 0 : fx ? -1 : 1;
  }
  return String(x).localeCompare(String(y), undefined, { numeric: true });
}

/** Row numbers in the order asked for; rows without a finite value stay last in both directions. */
export function order(values, rows, descending) {
  if (ArrayBuffer.isView(values)) return orderNumbers(values, rows, descending);
  const odd = (v) => typeof decode(v) === 'number' && !Number.isFinite(decode(v));
  return [...rows].sort((i, j) => {
    if (odd(values[i]) || odd(values[j])) return compare(values[i], values[j]) || i - j;
    return (descending ? -1 : 1) * compare(values[i], values[j]) || i - j;
  });
}

const PLACES = 2 ** 20;

/**
 * The same for columns of raw numbers, of which there may be a hundred thousand: value and row number
 * are packed into one number each, so that the browser sorts without calling back.
 */
function orderNumbers(values, rows, descending) {
  const finite = rows.filter((i) => Number.isFinite(values[i]));
  const odd = rows.filter((i) => !Number.isFinite(values[i]));
  if (values.length > PLACES || values.BYTES_PER_ELEMENT > 4) {
    return [...finite.sort((i, j) => (descending ? values[j] - values[i] : values[i] - values[j]) || i - j), ...odd];
  }
  const bits = values instanceof Float32Array && new Uint32Array(values.buffer, values.byteOffset, values.length);
  const rank = (i) => {
    if (!bits) return values[i] + 2 ** 31;
    return bits[i] >>> 31 ? ~bits[i] >>> 0 : bits[i] + 2 ** 31; // a float's bits, in the order of floats
  };
  const keys = Float64Array.from(finite, (i) => (descending ? 2 ** 32 - 1 - rank(i) : rank(i)) * PLACES + i).sort();
  return [...Array.from(keys, (key) => key % PLACES), ...odd];
}

/**
 * @param {{key: string, caption: string, rows: number, view: any,
 *   columns: {name: string, values: ArrayLike<any>, kind: keyof WRITE, at?: (row: number) => any,
 *     label?: (v: any, row: number) => string, node?: (row: number) => Node, title?: string}[],
 *   filters?: {name: string, choices: [string, string][], keep: (row: number, choice: string) => boolean}[],
 *   summary?: (chosen: number[]) => string, shown?: (rows: number[]) => void}} table
 *   `view` holds the reader's choices and survives live updates; `at` gives values made when they are shown
 */
export function dataTable({ key, caption, rows, columns, filters = [], view, summary, shown: showing }) {
  const body = el('tbody');
  const said = el('p', { class: 'small', role: 'status' });
  let chosen = [];
  const heads = columns.map((column, i) => headCell(column, i));
  const foot = el('div', { class: 'pager' });
  const table = el('table', { class: 'table' }, el('caption', {}, caption), el('thead', {}, el('tr', {}, heads)), body);
  view.filters ??= {};
  view.page ??= 0;

  function headCell(column, i) {
    if (column.node) return el('th', { scope: 'col', class: 'left' }, column.name);
    const button = el('button', { class: 'sort', 'data-key': `${key}-sort-${i}`, title: column.title, onclick: () => sortBy(i) }, column.name);
    return el('th', { scope: 'col', class: column.kind === 'text' ? 'left' : '' }, button);
  }

  function sortBy(i) {
    const { name, kind } = columns[i];
    view.down = view.sort === name ? !view.down : kind !== 'text';
    view.sort = name;
    view.page = 0;
    choose();
  }

  function valueOf(column, row) {
    return column.at ? column.at(row) : column.values[row];
  }

  /** Filter and sort anew; turning pages needs neither. */
  function choose() {
    chosen = Array.from({ length: rows }, (_, i) => i);
    for (const filter of filters) {
      const choice = view.filters[filter.name];
      if (choice) chosen = chosen.filter((row) => filter.keep(row, choice));
    }
    const by = columns.find((c) => c.name === view.sort);
    if (by) chosen = order(by.at ? chosen.reduce((made, row) => ((made[row] = by.at(row)), made), []) : by.values, chosen, view.down);
    if (summary) said.textContent = summary(chosen);
    heads.forEach((head, i) => head.setAttribute('aria-sort', view.sort === columns[i].name ? (view.down ? 'descending' : 'ascending') : 'none'));
    draw();
  }

  function draw() {
    const pages = Math.max(1, Math.ceil(chosen.length / PAGE));
    view.page = Math.min(view.page, pages - 1);
    const shown = chosen.slice(view.page * PAGE, (view.page + 1) * PAGE);
    body.replaceChildren(...shown.map((row) => el('tr', {}, columns.map((column, i) => cell(column, row, i)))));
    if (!shown.length) body.append(el('tr', {}, el('td', { colspan: columns.length, class: 'left' }, 'No rows.')));
    foot.hidden = pages === 1;
    const step = (to, name) => el('button', { class: 'btn', 'data-key': `${key}-${name}`, disabled: to < 0 || to >= pages, onclick: () => turn(to, name) }, name);
    foot.replaceChildren(step(view.page - 1, 'Previous'), el('span', {}, `${count(view.page + 1)} of ${count(pages)}, ${count(chosen.length)} rows`), step(view.page + 1, 'Next'));
    showing?.(shown);
  }

  function turn(page, name) {
    view.page = page;
    draw();
    const same = foot.querySelector(`[data-key="${key}-${name}"]:not([disabled])`) || foot.querySelector('button:not([disabled])');
    same?.focus({ preventScroll: true });
  }

  function cell(column, row, i) {
    const value = valueOf(column, row);
    const text = column.label ? column.label(value, row) : WRITE[column.kind](value);
    const tag = i === 0 ? 'th' : 'td';
    // Names may be long, in any script and direction.
    return el(tag, { scope: i === 0 && 'row', class: column.kind === 'text' ? `left ${column.wrap ? 'wrap' : ''}` : '', dir: column.kind === 'text' && 'auto', title: column.kind === 'text' && text }, column.node ? column.node(row) : text);
  }

  const controls = filters.map((filter) =>
    el('label', {}, `${filter.name} `, el('select', { 'data-key': `${key}-filter-${filter.name}`, onchange: (e) => keepOnly(filter.name, e.target.value) }, [['', 'all'], ...filter.choices].map(([value, label]) => el('option', { value, selected: (view.filters[filter.name] || '') === value }, label)))),
  );
  function keepOnly(name, value) {
    view.filters[name] = value;
    view.page = 0;
    choose();
  }

  choose();
  return el('div', { class: 'data' }, controls.length ? el('div', { class: 'filters' }, controls) : null, summary ? said : null, scroller(caption, table), foot);
}
