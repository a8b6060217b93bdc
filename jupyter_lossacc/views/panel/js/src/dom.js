/** Small helpers to make elements. Text always becomes text nodes: names from the user are never HTML. */

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, props, kids) {
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value != null) node.setAttribute(key, String(value));
  }
  node.append(...kids.flat(Infinity).filter((kid) => kid != null && kid !== false).map((kid) => (kid instanceof Node ? kid : String(kid))));
  return node;
}

/**
 * Make an HTML element.
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes; `onclick` and the like become listeners
 * @param {...(Node|string|number|null|false|undefined|Array)} kids
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...kids) {
  const node = document.createElement(tag);
  if (tag === 'button') node.type = 'button';
  return fill(node, props, kids);
}

/** Box that scrolls sideways, by keyboard too. */
export const scroller = (label, ...kids) => el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': label, 'data-key': `scroll-${label}` }, kids);

/** Make an SVG element. */
export const svg = (tag, props = {}, ...kids) => fill(document.createElementNS(SVG, tag), props, kids);

/**
 * Replace a node's children, but keep focus, open details and scroll positions of elements that carry
 * the same `data-key` before and after: a live update must not throw the reader out.
 */
export function renew(node, ...kids) {
  const root = node.getRootNode();
  const focused = root.activeElement && node.contains(root.activeElement) ? root.activeElement : null;
  const summary = focused?.tagName === 'SUMMARY'; // named by the details around it
  const active = (summary ? focused.parentNode : focused)?.dataset.key;
  const kept = new Map();
  for (const item of node.querySelectorAll('[data-key]')) kept.set(item.dataset.key, { open: item.open, top: item.scrollTop });
  node.replaceChildren(...kids.flat(Infinity).filter(Boolean));
  for (const item of node.querySelectorAll('[data-key]')) {
    const was = kept.get(item.dataset.key);
    if (!was) continue;
    if (item.tagName === 'DETAILS' && was.open !== undefined) item.open = was.open;
    if (was.top) item.scrollTop = was.top;
    if (item.dataset.key === active) (summary ? item.firstElementChild : item).focus({ preventScroll: true });
  }
}
