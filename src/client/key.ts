/** Makes idempotency keys. */
const BYTES = 16;

/** Not crypto.randomUUID(), which pages without TLS lack. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(BYTES));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
