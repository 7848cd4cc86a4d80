/**
 * What the page knows of the server: whether it answers, and whether it asks for a token.
 * A small store outside React, because requests are made outside it too.
 */
import { useSyncExternalStore } from 'react';

export interface Connection {
  /** No answer came to the last request, as opposed to an answer that says no. */
  gone: boolean;
  /** The server asks for a token and has not got a right one. */
  tokenWanted: boolean;
}

const TOKEN_KEY = 'seafloor.token';
const listeners = new Set<() => void>();
let current: Connection = { gone: false, tokenWanted: false };

function change(next: Partial<Connection>): void {
  const merged = { ...current, ...next };
  if (merged.gone === current.gone && merged.tokenWanted === current.tokenWanted) return;
  current = merged;
  for (const listener of listeners) listener();
}

export function noteAnswer(status: number): void {
  change(status === 401 ? { gone: false, tokenWanted: true } : { gone: false });
}

export function noteSilence(): void {
  change({ gone: true });
}

/** The token of this browser tab; it dies with the tab. */
export function token(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}

export function setToken(text: string): void {
  sessionStorage.setItem(TOKEN_KEY, text);
  change({ tokenWanted: false });
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}
