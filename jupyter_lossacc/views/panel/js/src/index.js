/** Entry points: `default` for anywidget, `embed` for a page without a kernel. */

import { register } from './kernel.js';
import { PanelView } from './panel.js';
import { Store } from './store.js';

const stores = new Map();

function initialize({ model }) {
  const key = model.get('run');
  const store = new Store(model.get('snapshot'), key);
  stores.set(key, store);
  const forget = register(key, model);
  const receive = (message, buffers) => store.receive(message, buffers);
  const renewed = () => store.replace(model.get('snapshot'));
  model.on('msg:custom', receive);
  model.on('change:snapshot', renewed);
  return () => {
    model.off('msg:custom', receive);
    model.off('change:snapshot', renewed);
    stores.delete(key);
    forget();
  };
}

function render({ model, el }) {
  const view = new PanelView(model, stores.get(model.get('run')), el);
  return () => view.destroy();
}

/** Pages as `frozen.py` packs them; null where the browser cannot: then the links to them are not there. */
async function unpack(packed) {
  if (!packed || !globalThis.DecompressionStream) return null;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'))).json();
}

/**
 * Show a finished run in a page: what stood in the element stays when anything fails.
 * @param {HTMLElement|null} element
 * @param {any} state
 */
function embed(element, state) {
  if (!element) return;
  const values = { run: state.uid || state.run.id, snapshot: state };
  const model = { get: (key) => values[key], on() {}, off() {}, send() {} };
  const box = document.createElement('div');
  try {
    const before = [...element.childNodes];
    element.append(box);
    const store = new Store(state);
    new PanelView(model, store, box);
    unpack(state.packed_pages).then((pages) => pages && store.receive({ t: 'delta', set: { pages }, grow: {} }));
    for (const node of before) node.remove();
  } catch (error) {
    box.remove();
    console.error('lossacc: the interactive panel could not be shown', error);
  }
}

export default { initialize, render, embed };
