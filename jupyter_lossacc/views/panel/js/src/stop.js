/** Stop in layers: a message; the front end's own interrupt when nobody answers; a hint when there is none. */

const PATIENCE = 800; // ms without an answer before the kernel is interrupted

/**
 * @param {{model: any, store: any, running: () => boolean, say: (text: string) => void}} panel
 * @returns {() => void} what the button does
 */
export function stopper({ model, store, running, say }) {
  return () => {
    store.acknowledged = false;
    say('Stop asked …');
    model.send({ t: 'stop', run: model.get('run') });
    setTimeout(async () => {
      if (store.acknowledged || !running()) return;
      const kernel = model.widget_manager?.kernel; // JupyterLab, Notebook 7
      if (kernel?.interrupt && kernel.status === 'busy') {
        say('Interrupting …');
        try {
          await kernel.interrupt();
          return;
        } catch {
          // fall through to the hint
        }
      }
      say('This editor holds clicks until the cell ends. Use its own Interrupt (■) button: the run ends cleanly.');
    }, PATIENCE);
  };
}
