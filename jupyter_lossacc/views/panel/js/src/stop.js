/** Stop, at once or at the end of the epoch, in layers: a message; the front end's own interrupt when nobody answers; a hint when there is none. */

const HINT = 'This editor holds clicks until the cell ends. Use its own Interrupt (■) button: the run ends cleanly.';
const PATIENCE = 800; // ms without an answer before the kernel is interrupted

/**
 * @param {{model: any, store: any, running: () => boolean, say: (text: string) => void}} panel
 * @param {'step'|'epoch'} at
 * @returns {() => void} what the button does
 */
export function stopper({ model, store, running, say }, at = 'step') {
  return () => {
    store.acknowledged = false;
    say('Stop asked …');
    model.send({ t: 'stop', run: model.get('run'), ...(at === 'epoch' && { at }) });
    setTimeout(async () => {
      if (store.acknowledged || !running()) return;
      const kernel = model.widget_manager?.kernel; // JupyterLab, Notebook 7
      // An interrupt would stop at the next step, which is not what was asked for.
      if (at === 'step' && kernel?.interrupt && kernel.status === 'busy') {
        say('Interrupting …');
        try {
          await kernel.interrupt();
          return;
        } catch {
          // fall through to the hint
        }
      }
      say(at === 'step' ? HINT : `${HINT} It stops at the next step, not at the end of the epoch.`);
    }, PATIENCE);
  };
}
