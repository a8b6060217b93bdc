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
    new PanelView(model, new Store(state), box);
    for (const node of before) node.remove();
  } catch (error) {
    box.remove();
    console.error('lossacc: the interactive panel could not be shown', error);
  }
}

export default { initialize, render, embed };
