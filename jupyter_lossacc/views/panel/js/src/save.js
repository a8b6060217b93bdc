/** The Save menu. */

import { el } from './dom.js';
import { epochTable, fileName, give, report, sampleColumns, sampleTable } from './files.js';
import { png } from './picture.js';

/**
 * @param {{run: string, picture: () => any, state: () => any, card: () => any, say: (text: string) => void}} panel
 * @returns {HTMLElement}
 */
export function saveMenu({ run: id, picture, state, card, say }) {
  const file = (what, content, type) => give(fileName(state().run.name, what), content, type);
  const choices = [
    ['Figure as PNG', async () => file('curves.png', await png(picture()))],
    ['Figure as SVG', () => file('curves.svg', picture().text, 'image/svg+xml')],
    ['Epochs as CSV', () => file('epochs.csv', epochTable(state()), 'text/csv')],
    ['Samples of this card as CSV', () => file(`samples-${card().start}-${card().end}.csv`, sampleTable(id, card(), state()), 'text/csv'), () => sampleColumns(id, card())],
    ['Report as Markdown', () => file('report.md', report(state()), 'text/markdown')],
  ];
  const menu = el('div', { class: 'menu' });
  const box = el('details', { class: 'save', ontoggle: () => box.open && fill(), onfocusout: (e) => e.relatedTarget && !box.contains(e.relatedTarget) && close(), onkeydown: (e) => e.key === 'Escape' && close(true) }, el('summary', { class: 'btn' }, 'Save'), menu);
  const close = (back) => {
    box.open = false;
    if (back) box.firstChild.focus();
  };
  function fill() {
    const items = choices.filter(([, , when]) => !when || when());
    menu.replaceChildren(...items.map(([name, save]) => el('button', { class: 'item', onclick: () => run(name, save) }, name)));
  }
  async function run(name, save) {
    close(true);
    try {
      await save();
      say(`${name}: saved.`);
    } catch (error) {
      say(`${name} could not be saved here (${error.message}).`);
    }
  }
  return box;
}
