/** Questions to the kernel. A frozen copy finds the widget whose place it took, as long as it lives in this page. */

const PATIENCE = 20_000; // ms for an answer
const POLL = 300; // ms

const models = (globalThis.__lossaccModels ||= new Map());
let asked = 0;

/** Make a widget's model known under its run; returns how to forget it. */
export function register(run, model) {
  models.set(run, model);
  return () => models.get(run) === model && models.delete(run);
}

/** Whether somebody could answer for this run. */
export const answers = (run) => models.has(run) && models.get(run).comm_live !== false;

/**
 * Ask, as soon as the kernel runs no cell: a message during one would make ipykernel 7 close the
 * user's half-drawn figures.
 * @param {string} run
 * @param {Record<string, any>} question with `what`
 * @returns {Promise<{value: any, buffers: DataView[]}>}
 */
export async function ask(run, question) {
  if (!answers(run)) throw new Error('no kernel');
  const model = models.get(run);
  const kernel = model.widget_manager?.kernel; // JupyterLab, Notebook 7
  while (kernel && kernel.status === 'busy') await new Promise((go) => setTimeout(go, POLL));
  const id = `${Date.now()}-${++asked}`;
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      model.off('msg:custom', heard);
    };
    const heard = (message, buffers) => {
      if (message.t !== 'answer' || message.id !== id) return;
      stop();
      if (message.error) reject(new Error(message.error));
      else resolve({ value: message.value, buffers });
    };
    const timer = setTimeout(() => (stop(), reject(new Error('the kernel did not answer'))), PATIENCE);
    model.on('msg:custom', heard);
    model.send({ t: 'ask', run, id, ...question });
  });
}
