/** The server's state as React sees it: one hook per question. */
import {
  keepPreviousData,
  useInfiniteQuery,
  useMutation,
  useQueries,
  useQuery,
  useQueryClient,
} from '@tanstack/react-query';
import { useEffect, useRef } from 'react';

import { ApiError, apiUrl, getJson, request, sendJson } from './client';
import {
  isFinal,
  type ArtifactEntry,
  type Attempt,
  type Chart,
  type Comparison,
  type EnvironmentView,
  type EventFile,
  type Experiment,
  type MediaPage,
  type MediaSeries,
  type MetricView,
  type RunEvent,
  type RunPage,
  type RunView,
  type ServerInfo,
  type SetupLog,
} from './types';

export const POLL_MS = 2000;
const RUNS_PER_PAGE = 100;

export interface RunsQuestion {
  filter: string;
  experiment: number | null;
  states: readonly string[];
  order: string | null;
}

/** Runs, page by page; the pages on screen are asked for again every two seconds. */
export function useRuns(question: RunsQuestion) {
  return useInfiniteQuery({
    queryKey: ['runs', question],
    queryFn: ({ pageParam, signal }) =>
      getJson<RunPage>(
        apiUrl('/runs', {
          filter: question.filter,
          experiment: question.experiment,
          state: question.states,
          order: question.order,
          limit: RUNS_PER_PAGE,
          cursor: pageParam,
        }),
        signal,
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    // Every loaded page is asked for again, so many pages are asked for less often.
    refetchInterval: (query) => POLL_MS * Math.max(1, query.state.data?.pages.length ?? 1),
    placeholderData: keepPreviousData,
  });
}

export function useExperiments() {
  return useQuery({
    queryKey: ['experiments'],
    queryFn: ({ signal }) => getJson<{ items: Experiment[] }>(apiUrl('/experiments'), signal),
    refetchInterval: 15_000,
    select: (page) => page.items,
  });
}

export function useRun(id: string) {
  return useQuery({
    queryKey: ['run', id],
    queryFn: ({ signal }) => getJson<RunView>(apiUrl(`/runs/${id}`), signal),
    refetchInterval: (query) => {
      const state = query.state.data?.state;
      return state !== undefined && isFinal(state) ? 5 * POLL_MS : POLL_MS;
    },
  });
}

export function useAttempts(run: RunView) {
  return useQuery({
    queryKey: ['run', run.id, 'attempts'],
    queryFn: ({ signal }) =>
      getJson<{ items: Attempt[] }>(apiUrl(`/runs/${run.id}/attempts`), signal),
    refetchInterval: isFinal(run.state) ? 5 * POLL_MS : POLL_MS,
    select: (page) => page.items,
  });
}

export function useEvents(run: RunView) {
  return useQuery({
    queryKey: ['run', run.id, 'events'],
    queryFn: ({ signal }) =>
      getJson<{ items: RunEvent[] }>(apiUrl(`/runs/${run.id}/events`), signal),
    refetchInterval: isFinal(run.state) ? 5 * POLL_MS : POLL_MS,
    select: (page) => page.items,
  });
}

/** Logs of what prepared a task, which only tasks in a cluster have. */
export function useSetupLogs(run: RunView, attempt: number, task: string | null) {
  return useQuery({
    queryKey: ['run', run.id, 'setups', attempt, task],
    queryFn: ({ signal }) =>
      getJson<{ items: SetupLog[] }>(apiUrl(`/runs/${run.id}/logs/setups`, { attempt, task }), signal),
    enabled: run.origin !== 'tracked',
    refetchInterval: isFinal(run.state) ? 5 * POLL_MS : POLL_MS,
    select: (page) => page.items,
  });
}

export function useMetrics(run: RunView) {
  return useQuery({
    queryKey: ['run', run.id, 'metrics'],
    queryFn: ({ signal }) =>
      getJson<{ items: Record<string, MetricView> }>(apiUrl(`/runs/${run.id}/metrics`), signal),
    refetchInterval: isFinal(run.state) ? 5 * POLL_MS : POLL_MS,
    select: (page) => page.items,
  });
}

export interface ChartSource {
  run: string;
  /** Changes when there is something new to fetch. */
  version: string;
}

/**
 * One metric of some runs. What is there stays while something newer is fetched, and a fetch that
 * takes longer than the time between two versions is not given up for the next one.
 */
export function useCharts(sources: readonly ChartSource[], key: string, buckets: number, enabled: boolean) {
  const charts = useQueries({
    queries: sources.map(({ run, version }) => ({
      queryKey: ['run', run, 'chart', key, buckets],
      queryFn: async ({ signal }: { signal: AbortSignal }) => ({
        version,
        ...(await getJson<Chart>(apiUrl(`/runs/${run}/metrics/chart`, { key, buckets }), signal)),
      }),
      staleTime: Infinity,
      gcTime: 60_000,
      enabled,
    })),
  });
  const asked = useRef(new Map<string, string>()); // a version that could not be had is not asked for twice
  useEffect(() => {
    if (!enabled) return;
    charts.forEach((chart, at) => {
      const source = sources[at];
      if (source === undefined || chart.data === undefined || chart.isFetching) return;
      if (chart.data.version === source.version || asked.current.get(source.run) === source.version) return;
      asked.current.set(source.run, source.version);
      void chart.refetch();
    });
  });
  return charts;
}

const MEDIA_KEYS_PER_PAGE = 60;
/** Records of one step that are shown before somebody asks for more. */
const MEDIA_PER_PAGE = 12;

/** Keys and kinds of what a run logged beside numbers, page by page. */
export function useMediaKeys(run: RunView) {
  return useInfiniteQuery({
    queryKey: ['run', run.id, 'media'],
    queryFn: ({ pageParam, signal }) =>
      getJson<{ items: MediaSeries[]; next: string | null }>(
        apiUrl(`/runs/${run.id}/media/keys`, { limit: MEDIA_KEYS_PER_PAGE, cursor: pageParam }),
        signal,
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    refetchInterval: (query) =>
      (isFinal(run.state) ? 5 : 1) * POLL_MS * Math.max(1, query.state.data?.pages.length ?? 1),
  });
}

/** Where to look for a step: at the first from a number on, or at the last up to it. */
export interface MediaPlace {
  step: number;
  from: 'up' | 'down';
}

/** The records of the step that is nearest to a place, page by page. */
export function useMediaStep(run: string, series: MediaSeries, place: MediaPlace, enabled: boolean) {
  const { key, kind } = series;
  return useInfiniteQuery({
    // A step that runs may get further records, which its count tells.
    queryKey: ['run', run, 'media', key, kind, place, series.records],
    queryFn: async ({ pageParam, signal }) => {
      const page = (query: Record<string, string | number | null>) =>
        getJson<MediaPage>(apiUrl(`/runs/${run}/media`, { key, kind, ...query }), signal);
      let found = pageParam;
      if (found === null) {
        const where =
          place.from === 'up' ? { step_min: place.step } : { step_max: place.step, order: 'desc' };
        const nearest = (await page({ ...where, limit: 1 })).items[0];
        if (nearest === undefined) return { step: null, items: [], next: null };
        found = { step: nearest.step, cursor: null };
      }
      const { step, cursor } = found;
      const items = await page({ step_min: step, step_max: step, limit: MEDIA_PER_PAGE, cursor });
      return { step, ...items };
    },
    initialPageParam: null as { step: number; cursor: string | null } | null,
    getNextPageParam: ({ step, next }) => (step === null || next === null ? null : { step, cursor: next }),
    placeholderData: keepPreviousData,
    staleTime: Infinity,
    gcTime: 60_000,
    enabled,
  });
}

/** Bytes of media, which never change. */
export function useMediaBlob(url: string, enabled: boolean) {
  return useQuery({
    queryKey: ['media-blob', url],
    queryFn: async ({ signal }) => (await request(url, { signal })).blob(),
    staleTime: Infinity,
    gcTime: 0,
    enabled,
  });
}

export function useEnvironment(reference: string | null, project: string) {
  return useQuery({
    queryKey: ['environment', project, reference],
    queryFn: ({ signal }) =>
      getJson<EnvironmentView>(
        apiUrl(`/environments/${encodeURIComponent(reference ?? '')}`, { project }),
        signal,
      ),
    enabled: reference !== null,
    staleTime: 60_000,
  });
}

/** What is directly below a folder, page by page. */
export function useFolder(run: string, folder: string, live: boolean) {
  return useInfiniteQuery({
    queryKey: ['run', run, 'artifacts', folder],
    queryFn: ({ pageParam, signal }) =>
      getJson<{ items: ArtifactEntry[]; next: string | null }>(
        apiUrl(`/runs/${run}/artifacts`, { folder, cursor: pageParam }),
        signal,
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    refetchInterval: (query) =>
      live ? 2 * POLL_MS * Math.max(1, query.state.data?.pages.length ?? 1) : false,
    select: (data) => data.pages.flatMap((page) => page.items),
  });
}

export function useEventFiles(run: RunView) {
  return useQuery({
    queryKey: ['run', run.id, 'event-files'],
    queryFn: ({ signal }) =>
      getJson<{ items: EventFile[] }>(apiUrl(`/runs/${run.id}/event-files`), signal),
    refetchInterval: isFinal(run.state) ? false : 2 * POLL_MS,
    select: (page) => page.items,
  });
}

export function useComparison(ids: readonly string[]) {
  return useQuery({
    queryKey: ['comparison', ids],
    queryFn: ({ signal }) => getJson<Comparison>(apiUrl('/comparisons', { run: ids }), signal),
    enabled: ids.length >= 2,
    refetchInterval: (query) =>
      query.state.data?.runs.every((run) => isFinal(run.state)) ? false : POLL_MS,
    placeholderData: keepPreviousData,
  });
}

export function useServerInfo() {
  return useQuery({
    queryKey: ['server'],
    queryFn: ({ signal }) => getJson<ServerInfo>(apiUrl('/server'), signal),
    staleTime: 60_000,
  });
}

export type RunAction = 'stop' | 'delete' | 'restore' | 'again';

function act(id: string, action: RunAction): Promise<unknown> {
  switch (action) {
    case 'stop':
      return sendJson('POST', apiUrl(`/runs/${id}/stop`));
    case 'delete':
      return sendJson('DELETE', apiUrl(`/runs/${id}`));
    case 'restore':
      return sendJson('POST', apiUrl(`/runs/${id}/restore`));
    case 'again':
      return sendJson('POST', apiUrl(`/runs/${id}/attempts`));
  }
}

/** Do something to runs, one after the other; what was done before a refusal stays done. */
export function useRunAction() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ ids, action }: { ids: readonly string[]; action: RunAction }) => {
      for (const id of ids) await act(id, action);
    },
    onSettled: () =>
      Promise.all([
        client.invalidateQueries({ queryKey: ['runs'] }),
        client.invalidateQueries({ queryKey: ['run'] }),
      ]),
  });
}

/** Whether asking again can help: not when the server understood and refused. */
export function worthRetrying(failures: number, error: unknown): boolean {
  return failures < 2 && !(error instanceof ApiError && error.status < 500);
}
