/** The API key of this tab: asks for it, keeps it in `sessionStorage` only, and forgets it. */
import { element, say } from './dom.ts';

const STORED_AS = 'amulet-api-key';

export class Keys {
  readonly #dialog = element('key-dialog', HTMLDialogElement);
  readonly #input = element('key', HTMLInputElement);
  readonly #reason = element('key-reason', HTMLElement);
  readonly #enter = element('enter-key', HTMLButtonElement);
  readonly #forget = element('forget-key', HTMLButtonElement);
  #asking: Promise<string | undefined> | undefined;
  readonly #onChange: () => void;
  /** The person has declined to enter a key. */
  #declined = false;
  /** A request was given up for want of a key, and may work once there is one. */
  #missed = false;

  /** @param onChange called when the key was forgotten or entered again */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
    this.#enter.addEventListener('click', () => void this.#ask(''));
    this.#forget.addEventListener('click', () => {
      sessionStorage.removeItem(STORED_AS);
      this.#declined = true;
      this.#show();
      this.#enter.focus();
      onChange();
    });
    // A person who submits a form may be asked again.
    document.addEventListener('submit', () => (this.#declined = false), { capture: true });
    element('key-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.#dialog.close(this.#input.value.trim());
    });
    element('key-cancel', HTMLButtonElement).addEventListener('click', () => this.#dialog.close(''));
    this.#show();
  }

  get current(): string | undefined {
    return sessionStorage.getItem(STORED_AS) ?? undefined;
  }

  /** Asks for a key, once for all refused requests together, and not again once the person has declined. */
  async wanted(reason: string): Promise<string | undefined> {
    this.#enter.hidden = false;
    const key = this.#declined ? undefined : await this.#ask(reason);
    this.#missed ||= key === undefined;
    return key;
  }

  async #ask(reason: string): Promise<string | undefined> {
    this.#asking ??= this.#open(reason).finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  #open(reason: string): Promise<string | undefined> {
    say(this.#reason, reason);
    this.#reason.hidden = reason === '';
    this.#input.value = '';
    // Escape closes the dialog without setting this.
    this.#dialog.returnValue = '';
    this.#dialog.showModal();
    return new Promise((resolve) => {
      const closed = () => {
        const key = this.#dialog.returnValue;
        this.#input.value = '';
        this.#declined = key === '';
        if (key !== '') sessionStorage.setItem(STORED_AS, key);
        this.#show();
        resolve(key === '' ? undefined : key);
        if (key === '' || !this.#missed) return;
        this.#missed = false;
        this.#onChange();
      };
      this.#dialog.addEventListener('close', closed, { once: true });
    });
  }

  #show(): void {
    const known = this.current !== undefined;
    this.#forget.hidden = !known;
    if (known) this.#enter.hidden = true;
    else if (this.#declined) this.#enter.hidden = false;
  }
}
