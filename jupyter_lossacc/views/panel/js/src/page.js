/** The explanation of a cause, opened inside the panel with a way back. */

import { el } from './dom.js';

/**
 * @param {string} id
 * @param {{title: string, html: string}} page html made by the package from its own Markdown
 * @param {{back: () => void, has: (id: string) => boolean, open: (id: string) => void}} go
 */
export function pageView(id, page, go) {
  const body = el('div', { class: 'page-body' });
  body.innerHTML = page.html;
  // The page's own title stands above it already.
  const title = body.querySelector('h1');
  title?.remove();
  for (const pre of body.querySelectorAll('pre')) pre.tabIndex = 0;
  for (const a of body.querySelectorAll('a[href]')) link(a, go);
  return el(
    'article',
    { class: 'card page', tabindex: '-1', 'aria-label': page.title, 'data-key': `page-${id}` },
    el('button', { class: 'btn', 'data-key': 'page-back', onclick: go.back }, '← Back to the card'),
    el('h3', {}, page.title),
    body,
  );
}

/** Links between pages open in place, words of the glossary open their meaning, the web opens beside. */
function link(a, go) {
  const href = a.getAttribute('href');
  const [, kind, target] = /^#lossacc-(page|term)-([\w-]+)$/.exec(href) || [];
  if (kind === 'page' && go.has(target)) {
    a.addEventListener('click', (e) => {
      e.preventDefault();
      go.open(target);
    });
  } else if (kind === 'term' && a.title) {
    a.replaceWith(term(a.textContent, a.title));
  } else if (!/^https?:/.test(href)) {
    a.replaceWith(...a.childNodes);
  }
}

function term(word, meaning) {
  const said = el('span', { class: 'meaning', hidden: true }, ` (${meaning}) `);
  const button = el('button', { class: 'term', title: meaning, 'aria-expanded': 'false', onclick: () => toggle() }, word);
  const toggle = () => {
    said.hidden = !said.hidden;
    button.setAttribute('aria-expanded', String(!said.hidden));
  };
  return el('span', {}, button, said);
}
