/** A log as the page holds it: a window that can be moved, and that grows while the run prints. */
import { useCallback, useEffect, useMemo, useReducer, useRef } from 'react';

import { ApiError, apiUrl, getJson, request } from '../api/client';
import { POLL_MS } from '../api/queries';
import { events } from '../api/sse';
import type { LogView } from '../api/types';
import {
  appended,
  EMPTY_WINDOW,
  PAGE_LINES,
  isFull,
  pageBefore,
  prepended,
  windowOf,
  type LogWindow,
} from './log-window';

export interface LogSource {
  run: string;
  attempt: number;
  /** Of several; null: the only one. */
  task: string | null;
  /** What prepared the task; null: its own log. */
  setup: string | null;
}

export type Target = 'start' | 'end' | number;

interface State {
  window: LogWindow;
  loading: boolean;
  loaded: boolean;
  error: unknown;
}

type Change =
  | { kind: 'loading' }
  | { kind: 'opened'; page: LogView; tail: boolean }
  | { kind: 'appended'; page: LogView; live: boolean }
  | { kind: 'prepended'; page: LogView }
  | { kind: 'failed'; error: unknown };

const LINES_BEFORE_TARGET = 200;
const FLUSH_MS = 120;
const STREAM_FAILURES_MAX = 2;
const POLLS_BEFORE_STREAM = 10;

function reduce(state: State, change: Change): State {
  const done = { loading: false, loaded: true, error: null };
  switch (change.kind) {
    case 'loading':
      return { ...state, loading: true };
    case 'opened':
      return { window: windowOf(change.page, change.tail), ...done };
    case 'appended':
      return { window: appended(state.window, change.page, change.live), ...done };
    case 'prepended':
      return { window: prepended(state.window, change.page), ...done };
    case 'failed':
      return { ...state, loading: false, error: change.error };
  }
}

/** The parameters that name a log. */
export function which({ attempt, task, setup }: Omit<LogSource, 'run'>): Record<string, string | number> {
  return { attempt, ...(task === null ? {} : { task }), ...(setup === null ? {} : { setup }) };
}

function pageUrl(source: LogSource, from: number, limit: number): string {
  return apiUrl(`/runs/${source.run}/logs`, { ...which(source), from_line: from, limit });
}

/**
 * @param following While true, lines that fall out at the top of a full window are let go; while
 *   false a full window stops growing, so that what is being read does not move.
 */
export function useLog(source: LogSource, first: Target, following: boolean) {
  const { run, attempt, task, setup } = source;
  const [state, dispatch] = useReducer(reduce, {
    window: EMPTY_WINDOW,
    loading: true,
    loaded: false,
    error: null,
  });
  const aborter = useRef(new AbortController());
  const window = useRef(state.window);
  window.current = state.window;
  const busy = useRef(false);

  /** Load a page. `upTo`: it must reach this line, though long lines may cut a page short. */
  const load = useCallback(
    async (from: number, limit: number, change: (page: LogView) => Change, upTo = 0) => {
      const { signal } = aborter.current;
      busy.current = true;
      dispatch({ kind: 'loading' });
      try {
        let page = await getJson<LogView>(pageUrl({ run, attempt, task, setup }, from, limit), signal);
        while (page.next_line < upTo && page.lines.length > 0) {
          const next = pageUrl({ run, attempt, task, setup }, page.next_line, upTo - page.next_line);
          page = await getJson<LogView>(next, signal);
        }
        if (!signal.aborted) dispatch(change(page));
      } catch (error) {
        if (!signal.aborted) dispatch({ kind: 'failed', error });
      } finally {
        if (!signal.aborted) busy.current = false;
      }
    },
    [run, attempt, task, setup],
  );

  const open = useCallback(
    (target: Target) => {
      aborter.current.abort();
      aborter.current = new AbortController();
      const limit = PAGE_LINES;
      const from =
        target === 'end' ? -limit : target === 'start' ? 1 : Math.max(1, target - LINES_BEFORE_TARGET);
      const upTo = typeof target === 'number' ? target + 1 : 0;
      return load(from, limit, (page) => ({ kind: 'opened', page, tail: target === 'end' }), upTo);
    },
    [load],
  );

  useEffect(() => {
    void open(first);
    return () => aborter.current.abort();
    // `first` is where to begin; it changes nothing later.
  }, [open]);

  const loadBefore = useCallback(() => {
    if (busy.current || window.current.atStart) return;
    const { from, limit } = pageBefore(window.current, PAGE_LINES);
    void load(from, limit, (page) => ({ kind: 'prepended', page }), from + limit);
  }, [load]);

  const loadAfter = useCallback(() => {
    if (busy.current || window.current.atEnd) return;
    void load(window.current.nextLine, PAGE_LINES, (page) => ({ kind: 'appended', page, live: false }));
  }, [load]);

  const { atEnd, finished } = state.window;
  const full = useMemo(() => isFull(state.window), [state.window]);
  const live = state.loaded && atEnd && !finished && (following || !full);
  useEffect(() => {
    if (!live) return;
    const stop = new AbortController();
    const take = batched((page) => {
      if (!stop.signal.aborted) dispatch({ kind: 'appended', page, live: true });
    });
    follow({ run, attempt, task, setup }, window.current.nextLine, take, stop.signal).catch((error: unknown) => {
      if (!stop.signal.aborted) dispatch({ kind: 'failed', error });
    });
    return () => stop.abort();
  }, [live, run, attempt, task, setup]);

  return { ...state, live, full, open, loadBefore, loadAfter };
}

/** Put pages that come quickly one after the other into one. */
function batched(take: (page: LogView) => void): (page: LogView) => void {
  let waiting: LogView[] = [];
  return (page) => {
    waiting.push(page);
    if (waiting.length > 1) return;
    setTimeout(() => {
      const pages = waiting;
      waiting = [];
      const last = pages.at(-1);
      if (last) take({ ...last, lines: pages.flatMap((one) => one.lines) });
    }, FLUSH_MS);
  };
}

/**
 * Deliver pages as lines arrive, until the log is finished: from the event stream, or by asking
 * again and again where a proxy does not let streams through.
 *
 * @throws ApiError when the server refuses.
 */
async function follow(
  source: LogSource,
  from: number,
  take: (page: LogView) => void,
  signal: AbortSignal,
): Promise<void> {
  let next = from;
  let failures = 0;
  let polls = 0;
  const deliver = (page: LogView): boolean => {
    if (page.lines.length > 0 || page.finished) take(page);
    next = Math.max(next, page.next_line);
    return page.finished;
  };
  while (!signal.aborted) {
    try {
      if (failures < STREAM_FAILURES_MAX) {
        for await (const page of streamed(source, next, signal)) {
          failures = 0;
          if (deliver(page)) return;
        }
        failures += 1; // it ended without an end of the log
      } else {
        const page = await getJson<LogView>(pageUrl(source, next, PAGE_LINES), signal);
        if (deliver(page)) return;
        polls += 1;
        if (polls % POLLS_BEFORE_STREAM === 0) failures = 0;
        if (page.lines.length > 0) continue;
      }
    } catch (error) {
      if (signal.aborted || (error instanceof ApiError && error.status < 500)) throw error;
      failures += 1;
    }
    await pause(POLL_MS, signal);
  }
}

async function* streamed(source: LogSource, from: number, signal: AbortSignal): AsyncGenerator<LogView> {
  const url = apiUrl(`/runs/${source.run}/logs/follow`, { ...which(source), from_line: from });
  const response = await request(url, { signal, headers: { Accept: 'text/event-stream' } });
  for await (const data of events(response)) yield JSON.parse(data) as LogView;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
