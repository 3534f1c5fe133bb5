/** The buttons that copy a command line. */
import { element, say } from './dom.ts';

const SAID_MS = 2000;

export function enableCopying(): void {
  for (const button of document.querySelectorAll<HTMLButtonElement>('[data-copies]')) {
    const from = element(button.dataset.copies ?? '', HTMLElement);
    const label = button.textContent;
    button.addEventListener('click', () => {
      void copy(from).then((done) => {
        say(button, done ? 'Copied' : 'Selected');
        setTimeout(() => say(button, label), SAID_MS);
      });
    });
  }
}

/** Selects the text; copies it where the browser lets a page do that (over https, or on this machine). */
async function copy(from: HTMLElement): Promise<boolean> {
  getSelection()?.selectAllChildren(from);
  try {
    await navigator.clipboard.writeText(from.textContent);
    return true;
  } catch {
    return false;
  }
}
