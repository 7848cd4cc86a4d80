/** The columns a runs table can have. */
import { Anchor } from '@mantine/core';
import type { ReactNode } from 'react';
import { Link } from 'wouter';

import type { CodeSource, RunView } from '../api/types';
import { inNaturalOrder, short, shownAge, shownDuration, shownNumber, shownTime } from '../format/format';
import { identifier } from './filter';
import { StateBadge } from './state-badge';

export interface RunColumn {
  /** `name`, `params.<key>`, `metrics.<key>`; what is kept when columns are picked. */
  id: string;
  group: 'run' | 'params' | 'metrics';
  label: string;
  widthPx: number;
  numeric?: boolean;
  /** What the API calls it in `order=`; absent when it cannot order by this. */
  order?: string;
  cell: (run: RunView) => ReactNode;
}

export const RUN_COLUMNS: readonly RunColumn[] = [
  {
    id: 'name',
    group: 'run',
    label: 'Name',
    widthPx: 240,
    order: 'name',
    cell: (run) => (
      <Anchor component={Link} href={`/runs/${run.id}`} size="sm" fw={550} truncate>
        {run.name}
      </Anchor>
    ),
  },
  {
    id: 'state',
    group: 'run',
    label: 'State',
    widthPx: 134,
    order: 'state',
    cell: (run) => <StateBadge state={run.state} ending={run.ending} />,
  },
  {
    id: 'experiment',
    group: 'run',
    label: 'Experiment',
    widthPx: 140,
    order: 'experiment_id',
    cell: (run) => run.experiment.name,
  },
  {
    id: 'started',
    group: 'run',
    label: 'Started',
    widthPx: 116,
    order: 'started_ns',
    cell: (run) => (
      <span title={shownTime(run.started_ns)}>{shownAge(run.started_ns, Date.now())}</span>
    ),
  },
  {
    id: 'duration',
    group: 'run',
    label: 'Duration',
    widthPx: 112,
    cell: (run) => shownDuration(run.duration_s),
  },
  { id: 'user', group: 'run', label: 'User', widthPx: 100, order: 'user', cell: (run) => run.user },
  { id: 'code', group: 'run', label: 'Code', widthPx: 180, cell: (run) => shownCode(run.code) },
  {
    id: 'environment',
    group: 'run',
    label: 'Environment',
    widthPx: 160,
    order: 'environment',
    cell: (run) => run.environment,
  },
  {
    id: 'id',
    group: 'run',
    label: 'Id',
    widthPx: 130,
    order: 'id',
    cell: (run) => <span title={run.id}>…{run.id.slice(-12)}</span>,
  },
];

const METRICS_SHOWN = 4;
const PARAMS_SHOWN = 3;
const USUAL = ['name', 'state', 'experiment', 'started', 'duration', 'user', 'code'];

function shownCode(code: CodeSource | null): ReactNode {
  if (code === null) return null;
  if (code.kind === 'git') {
    return (
      <span title={`${code.url}\n${code.commit}`}>
        {code.folder} <code>{code.commit.slice(0, 8)}</code>
      </span>
    );
  }
  if (code.kind === 'archive') {
    return (
      <span title={`${code.url}\n${code.sha256 ?? code.etag ?? ''}`}>
        {code.folder} <code>{(code.sha256 ?? code.etag ?? '').slice(0, 8)}</code>
      </span>
    );
  }
  if (code.kind === 'image') return <span title="taken as it lay where the run started">image</span>;
  return (
    <span title={`snapshot ${code.sha256}`}>
      {code.folder} <code>{short(code.sha256).slice(0, 8)}</code>
    </span>
  );
}

function paramColumn(key: string): RunColumn {
  return {
    id: `params.${key}`,
    group: 'params',
    label: key,
    widthPx: columnWidth(key),
    order: identifier('params', key),
    cell: (run) => run.params[key],
  };
}

function metricColumn(key: string): RunColumn {
  return {
    id: `metrics.${key}`,
    group: 'metrics',
    label: key,
    widthPx: columnWidth(key),
    numeric: true,
    order: identifier('metrics', key),
    cell: (run) => {
      const metric = run.metrics[key];
      return metric && shownNumber(metric.last);
    },
  };
}

function columnWidth(label: string): number {
  return Math.min(220, Math.max(112, label.length * 7.6 + 40));
}

/** Every column that some run has a value for. */
export function columnsOf(keys: { params: string[]; metrics: string[] }): RunColumn[] {
  return [...RUN_COLUMNS, ...keys.params.map(paramColumn), ...keys.metrics.map(metricColumn)];
}

/** What is shown until somebody picks. */
export function usualColumns(columns: readonly RunColumn[]): string[] {
  const params = columns.filter((column) => column.group === 'params').slice(0, PARAMS_SHOWN);
  const metrics = columns.filter((column) => column.group === 'metrics').slice(0, METRICS_SHOWN);
  return [...USUAL, ...metrics.map((column) => column.id), ...params.map((column) => column.id)];
}

/** Keys in order of name, those already known included, so that columns do not come and go. */
export function mergedKeys(known: readonly string[], runs: readonly RunView[], of: 'params' | 'metrics'): string[] {
  const keys = new Set(known);
  for (const run of runs) for (const key of Object.keys(run[of])) keys.add(key);
  return keys.size === known.length ? (known as string[]) : inNaturalOrder(keys);
}
