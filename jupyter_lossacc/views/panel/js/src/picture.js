/** The charts as a picture of their own: what stands on the screen, with its colours, as one SVG. */

import { svg } from './dom.js';
import { GLYPHS } from './overlay.js';
import { SPACE } from './plot.js';

const FONT = 'system-ui, "Segoe UI", sans-serif';
const MARGIN = 16;
const COPIED = ['stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'fill', 'font-size', 'text-anchor'];
const ruler = () => (ruler.context ||= document.createElement('canvas').getContext('2d'));

function widthOf(text, size, weight) {
  ruler().font = `${weight} ${size}px ${FONT}`;
  return ruler().measureText(text).width;
}

/** A sheet that is filled from top to bottom. */
class Sheet {
  constructor(width, ink) {
    Object.assign(this, { width, ink, at: MARGIN, parts: [] });
  }

  put(text, x, y, { size = 12, weight = 400, fill = this.ink, anchor = null } = {}) {
    this.parts.push(svg('text', { x, y, fill, 'font-size': size, 'font-weight': weight, 'font-family': FONT, 'text-anchor': anchor }, text));
  }

  /** Items side by side, as many as fit into a line: [text, swatch or none]. */
  flow(items, { size = 12, weight = 400, fill, gap = 16 } = {}) {
    let x = MARGIN;
    this.at += size + 4;
    for (const [text, swatch] of items) {
      const wide = widthOf(text, size, weight) + (swatch ? 26 : 0);
      if (x > MARGIN && x + wide > this.width - MARGIN) {
        x = MARGIN;
        this.at += size + 5;
      }
      if (swatch) this.parts.push(svg('line', { x1: x, x2: x + 20, y1: this.at - 4, y2: this.at - 4, ...swatch }));
      this.put(text, x + (swatch ? 26 : 0), this.at, { size, weight, fill });
      x += wide + gap;
    }
  }

  paragraph(text, look) {
    this.flow(text.split(/\s+/).map((word) => [word]), { gap: 4, ...look });
  }
}

/** Copy of a drawing with its computed style written down. */
function plain(node) {
  const copy = node.cloneNode(true);
  const [from, to] = [node, copy].map((root) => [root, ...root.querySelectorAll('*')]);
  to.forEach((target, i) => {
    const style = getComputedStyle(from[i]);
    for (const name of COPIED) if (style.getPropertyValue(name)) target.setAttribute(name, style.getPropertyValue(name));
    if (target.tagName === 'text') target.setAttribute('font-family', FONT);
    for (const name of ['class', 'style', 'aria-hidden']) target.removeAttribute(name);
  });
  return copy;
}

/** Bands, marks and labels of a chart, from where they stand over it. */
function overlay(plot, sheet, [dx, dy], background) {
  const behind = [];
  // Bands last: their labels lie over the lines.
  const shown = [...plot.layer.children].filter((node) => node.getClientRects().length && node.style.visibility !== 'hidden').reverse();
  for (const node of shown) {
    const style = getComputedStyle(node);
    const x = dx + node.offsetLeft;
    if (node.dataset.group === 'band') {
      const edge = style.borderLeftColor;
      behind.push(svg('rect', { x, y: dy, width: node.offsetWidth, height: plot.height, fill: edge, 'fill-opacity': /beside/.test(node.className) ? 0 : 0.12, stroke: edge, 'stroke-width': /quiet|beside|retracted/.test(node.className) ? 1 : 2, 'stroke-dasharray': /beside|retracted/.test(node.className) ? '3 3' : null }));
      const tag = node.querySelector('.tag');
      if (tag) {
        const [left, top] = [x + tag.offsetLeft, dy + tag.offsetTop];
        sheet.parts.push(svg('rect', { x: left, y: top, width: tag.offsetWidth, height: tag.offsetHeight, rx: 3, fill: background, stroke: edge }));
        sheet.put(tag.textContent, left + 9, top + 13, { weight: 600 });
      }
    } else if (node.dataset.group === 'rest') {
      behind.push(svg('rect', { x, y: dy, width: node.offsetWidth, height: plot.height, fill: style.borderRightColor, 'fill-opacity': 0.05 }));
    } else if (/^line/.test(node.className)) {
      const short = node.classList.contains('rate');
      sheet.parts.push(svg('line', { x1: x, x2: x, y1: dy + (short ? plot.height - 14 : 0), y2: dy + plot.height, stroke: style.borderLeftColor, 'stroke-width': 2, 'stroke-dasharray': '2 3' }));
      if (node.textContent) sheet.put(node.textContent, x + (node.classList.contains('flip') ? -5 : 5), dy + plot.height / 2, { weight: 600, anchor: node.classList.contains('flip') ? 'end' : null });
    } else {
      const right = node.classList.contains('reference');
      const box = node.getBoundingClientRect();
      const base = plot.over.getBoundingClientRect();
      const at = dx + (right ? box.right : box.left + box.width / 2) - base.left;
      sheet.put(node.textContent, at, dy + box.bottom - base.top - 2, { size: right ? 11 : 13, fill: style.color, anchor: right ? 'end' : 'middle' });
    }
  }
  return behind;
}

/**
 * @param {HTMLElement} panel
 * @param {any} charts
 * @param {any} state
 * @returns {{text: string, width: number, height: number}}
 */
export function pictureOf(panel, charts, state) {
  const style = getComputedStyle(panel);
  const [ink, muted, background] = [style.color, style.getPropertyValue('--muted').trim(), style.backgroundColor];
  const sheet = new Sheet(charts.width + 2 * MARGIN, ink);
  sheet.paragraph(`${state.run.name}: ${state.headline.text}`, { size: 14, weight: 600 });
  for (const plot of charts.plots) {
    sheet.at += 8;
    const title = plot.pane === 'loss' ? `Loss, ${state.words.unit}` : 'Accuracy';
    sheet.flow([[title], ...charts.lists[plot.pane].map((s) => [s.label, { stroke: style.getPropertyValue(s.color), 'stroke-width': s.width, 'stroke-dasharray': s.dash?.join(' ') }])]);
    const top = sheet.at + 4;
    const behind = sheet.parts.length;
    const drawn = svg('g', { transform: `translate(${MARGIN} ${top})` }, [...plain(plot.image).childNodes]);
    sheet.parts.push(drawn);
    sheet.parts.splice(behind, 0, ...overlay(plot, sheet, [MARGIN + SPACE.left, top + SPACE.top], background));
    sheet.at = top + charts.height(plot.pane);
  }
  sheet.flow(state.marks.map((m) => [`${GLYPHS[m.shape]} ${m.text}`]), { size: 11, fill: muted });
  sheet.flow([[`${state.status_line} · lossacc`]], { size: 11, fill: muted });
  const [width, height] = [sheet.width, sheet.at + MARGIN];
  const whole = svg('svg', { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}` }, svg('title', {}, `Loss and accuracy of ${state.run.name}`), svg('desc', {}, `${state.words.loss} ${state.words.accuracy}`), svg('rect', { width, height, fill: background }), sheet.parts);
  return { text: new XMLSerializer().serializeToString(whole), width, height };
}

/** Turn a picture into a PNG, twice as fine as the screen. */
export async function png({ text, width, height }) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  Object.assign(canvas, { width: 2 * width, height: 2 * height });
  canvas.getContext('2d').drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, 'image/png'));
}
