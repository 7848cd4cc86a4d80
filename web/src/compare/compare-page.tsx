import { Anchor, Group, Switch, Tabs, Text, Title } from '@mantine/core';
import { useMemo, useState } from 'react';
import { Link, useSearchParams } from 'wouter';

import { useComparison } from '../api/queries';
import type { ComparedValue, Comparison, RunView } from '../api/types';
import type { ChartRun } from '../charts/chart-card';
import { Legend } from '../charts/chart-card';
import { ChartGrid } from '../charts/chart-grid';
import { colorOf } from '../charts/palette';
import { counted, inNaturalOrder, shownNumber } from '../format/format';
import { StateBadge } from '../runs/state-badge';
import { Failure, Notice, PageLoader } from '../shell/notices';
import { useTitle } from '../shell/title';
import styles from './compare.module.css';

const RUNS_MIN = 2;
const RUNS_MAX = 20;

/** Runs side by side. Which ones stands in the address. */
export default function ComparePage() {
  useTitle('Compare');
  const [search, setSearch] = useSearchParams();
  const ids = search.getAll('run');
  const tab = search.get('tab') ?? 'table';
  const { data, error, isPending } = useComparison(ids);
  if (ids.length < RUNS_MIN || ids.length > RUNS_MAX) return <WrongCount count={ids.length} />;
  if (error && !data) return <Failure error={error} />;
  if (isPending) return <PageLoader />;
  return (
    <article className={styles.page}>
      <header className={styles.header}>
        <Text size="sm" c="dimmed">
          <Anchor component={Link} href="/runs" size="sm" c="dimmed">
            Runs
          </Anchor>
          {' / compare'}
        </Text>
        <Title order={1} size="h3">
          {counted(ids.length, 'run')} side by side
        </Title>
      </header>
      <Tabs
        className={styles.tabs}
        value={tab}
        onChange={(name) =>
          setSearch(
            (old) => {
              const next = new URLSearchParams(old);
              next.set('tab', name ?? 'table');
              return next;
            },
            { replace: true },
          )
        }
        keepMounted={false}
      >
        <Tabs.List px="md">
          <Tabs.Tab value="table">Values</Tabs.Tab>
          <Tabs.Tab value="charts">Charts</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="table" className={styles.panel}>
          <Values comparison={data} />
        </Tabs.Panel>
        <Tabs.Panel value="charts" className={styles.panel}>
          <Charts runs={data.runs} />
        </Tabs.Panel>
      </Tabs>
    </article>
  );
}

function WrongCount({ count }: { count: number }) {
  return (
    <Notice title={count < RUNS_MIN ? 'Choose at least two runs' : `At most ${RUNS_MAX} runs can be compared`}>
      <Text c="dimmed">
        Select runs in the{' '}
        <Anchor component={Link} href="/runs">
          table
        </Anchor>{' '}
        and press Compare.
      </Text>
    </Notice>
  );
}

function Values({ comparison }: { comparison: Comparison }) {
  const [onlyDifferent, setOnlyDifferent] = useState(false);
  const { runs } = comparison;
  const groups: [string, ComparedValue[]][] = [
    ['Run', comparison.attributes.filter((value) => value.key !== 'name' && value.key !== 'state')],
    ['Params', naturally(comparison.params)],
    ['Metrics', naturally(comparison.metrics)],
  ];
  return (
    <>
      <Group className={styles.bar}>
        <Switch
          size="xs"
          label="Only differences"
          checked={onlyDifferent}
          onChange={(event) => setOnlyDifferent(event.currentTarget.checked)}
        />
      </Group>
      <div className={styles.scroller} tabIndex={0} role="region" aria-label="Values">
        <table className={styles.table}>
          <thead>
            <tr>
              <td />
              {runs.map((run, at) => (
                <th key={run.id} scope="col">
                  <span className={styles.runHead}>
                    <i style={{ background: colorOf(at) }} aria-hidden="true" />
                    <Anchor component={Link} href={`/runs/${run.id}`} size="sm" fw={600}>
                      {run.name}
                    </Anchor>
                  </span>
                  <StateBadge state={run.state} ending={run.ending} />
                </th>
              ))}
            </tr>
          </thead>
          {groups.map(([title, values]) => (
            <ValueGroup
              key={title}
              title={title}
              values={values.filter((value) => value.differs || !onlyDifferent)}
              columns={runs.length + 1}
            />
          ))}
        </table>
      </div>
    </>
  );
}

function naturally(values: readonly ComparedValue[]): ComparedValue[] {
  const byKey = new Map(values.map((value) => [value.key, value]));
  return inNaturalOrder(byKey.keys()).flatMap((key) => byKey.get(key) ?? []);
}

function ValueGroup({ title, values, columns }: { title: string; values: readonly ComparedValue[]; columns: number }) {
  return (
    <tbody>
      <tr>
        <th scope="rowgroup" colSpan={columns} className={styles.groupHead}>
          {title}
        </th>
      </tr>
      {values.length === 0 && (
        <tr>
          <td colSpan={columns}>
            <Text size="sm" c="dimmed">
              Nothing differs.
            </Text>
          </td>
        </tr>
      )}
      {values.map((value) => (
        <tr key={value.key} data-differs={value.differs}>
          <th scope="row">{value.key}</th>
          {value.values.map((one, at) => (
            <td key={at}>{shownValue(one)}</td>
          ))}
        </tr>
      ))}
    </tbody>
  );
}

function shownValue(value: string | number | null): string {
  return typeof value === 'number' ? shownNumber(value) : (value ?? '–');
}

function Charts({ runs }: { runs: readonly RunView[] }) {
  const metrics = useMemo(() => chartRuns(runs), [runs]);
  if (metrics.size === 0) return <Notice title="None of these runs logged metrics" />;
  return (
    <>
      <div className={styles.legend}>
        <Legend runs={runs.map((run, at) => ({ id: run.id, label: run.name, color: colorOf(at) }))} />
      </div>
      <ChartGrid metrics={metrics} />
    </>
  );
}

/** Metric to the runs that have it; a run has one colour everywhere. */
function chartRuns(runs: readonly RunView[]): Map<string, ChartRun[]> {
  const found = new Map<string, ChartRun[]>();
  runs.forEach((run, at) => {
    const originMs = (run.started_ns ?? run.created_ns) / 1e6;
    for (const [key, metric] of Object.entries(run.metrics)) {
      const one = { id: run.id, label: run.name, color: colorOf(at), originMs, metric };
      found.set(key, [...(found.get(key) ?? []), one]);
    }
  });
  return found;
}
