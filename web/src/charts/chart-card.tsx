import { ActionIcon, Group, Loader, Modal, SegmentedControl, Table, Text, Tooltip } from '@mantine/core';
import { useIntersection } from '@mantine/hooks';
import { useMemo, useState } from 'react';

import { useCharts } from '../api/queries';
import type { MetricView } from '../api/types';
import { counted, grouped, shownNumber } from '../format/format';
import { Icon } from '../shell/icons';
import { Failure } from '../shell/notices';
import { Plot, type PlotOptions, type PlotSeries } from './plot';
import { lineOf } from './series';
import styles from './charts.module.css';

const HEIGHT_PX = 210;
const BUCKETS = 400;
const BUCKETS_LARGE = 2000;
const TABLE_ROWS_MAX = 500;

/** A run that has the metric. */
export interface ChartRun {
  id: string;
  label: string;
  color: string;
  /** Where its relative time begins. */
  originMs: number;
  metric: MetricView;
}

interface Props {
  metric: string;
  runs: readonly ChartRun[];
  options: PlotOptions;
}

function useLines(metric: string, runs: readonly ChartRun[], options: PlotOptions, buckets: number, enabled: boolean) {
  const charts = useCharts(
    runs.map(({ id, metric: { points, last_step, last_time_ms } }) => ({
      run: id,
      version: `${points}:${last_step}:${last_time_ms}`,
    })),
    metric,
    buckets,
    enabled,
  );
  const found = charts.map((chart) => chart.data?.buckets);
  const series = useMemo(
    () =>
      runs.map(
        (run, at): PlotSeries => ({
          label: run.label,
          color: run.color,
          line: lineOf(found[at] ?? [], options.axis, run.originMs),
        }),
      ),
    // Buckets keep their identity while they are the same.
    [options.axis, runs.map((run) => run.id).join(), ...found],
  );
  return {
    series,
    error: charts.find((chart) => chart.error && !chart.data)?.error ?? null,
    waiting: charts.some((chart) => chart.isPending),
  };
}

/** One metric of one or more runs. It asks for its points when it comes into view. */
export function ChartCard({ metric, runs, options }: Props) {
  const { ref, entry } = useIntersection({ rootMargin: '200px' });
  const [large, setLarge] = useState(false);
  const { series, error, waiting } = useLines(metric, runs, options, BUCKETS, entry?.isIntersecting ?? false);
  const only = runs.length === 1 ? runs[0]?.metric : undefined;
  const points = series.reduce((sum, one) => sum + one.line.points, 0);
  const nans = series.reduce((sum, one) => sum + one.line.nans, 0);
  return (
    <figure
      ref={ref}
      className={styles.card}
      aria-label={`${metric}: ${summary(runs)}`}
      data-metric={metric}
      data-points={points}
      data-nans={nans}
      data-last={only?.last}
    >
      <figcaption className={styles.caption}>
        <Text size="sm" fw={600} truncate title={metric}>
          {metric}
        </Text>
        {nans > 0 && (
          <Tooltip label={`${counted(nans, 'point')} of ${grouped(points)} are NaN`}>
            <Text size="xs" c="red" component="span" className={styles.last}>
              {counted(nans, 'NaN')}
            </Text>
          </Tooltip>
        )}
        {only && (
          <Text size="sm" c="dimmed" component="span" ml="auto" className={styles.last} title={`at step ${grouped(only.last_step)}`}>
            {shownNumber(only.last)}
          </Text>
        )}
        <ActionIcon
          size="sm"
          variant="subtle"
          color="gray"
          ml={only ? 0 : 'auto'}
          aria-label={`Enlarge ${metric}`}
          onClick={() => setLarge(true)}
        >
          <Icon name="expand" size={14} />
        </ActionIcon>
      </figcaption>
      {error ? (
        <Failure error={error} />
      ) : waiting ? (
        <div className={styles.waiting} style={{ height: HEIGHT_PX }}>
          <Loader size="xs" type="dots" />
        </div>
      ) : (
        <Plot series={series} heightPx={HEIGHT_PX} syncKey={`seafloor-${options.axis}`} {...options} />
      )}
      {large && <Enlarged metric={metric} runs={runs} options={options} onClose={() => setLarge(false)} />}
    </figure>
  );
}

function summary(runs: readonly ChartRun[]): string {
  return runs
    .map(({ label, metric }) => {
      const range = metric.min === null ? '' : `, from ${shownNumber(metric.min)} to ${shownNumber(metric.max)}`;
      const name = runs.length > 1 ? `${label}: ` : '';
      return `${name}${counted(metric.points, 'point')}, last ${shownNumber(metric.last)} at step ${grouped(metric.last_step)}${range}`;
    })
    .join('; ');
}

function Enlarged({ metric, runs, options, onClose }: Props & { onClose: () => void }) {
  const [view, setView] = useState('chart');
  const { series, error } = useLines(metric, runs, options, BUCKETS_LARGE, true);
  return (
    <Modal
      opened
      fullScreen
      onClose={onClose}
      title={
        <Group>
          <Text fw={600}>{metric}</Text>
          <SegmentedControl
            size="xs"
            aria-label="Show as"
            data={[
              { value: 'chart', label: 'Chart' },
              { value: 'table', label: 'Table' },
            ]}
            value={view}
            onChange={setView}
          />
        </Group>
      }
    >
      {error ? <Failure error={error} /> : null}
      {view === 'chart' ? (
        <Plot series={series} heightPx={Math.max(240, window.innerHeight - 120)} {...options} />
      ) : (
        <PointTable series={series} axis={options.axis} />
      )}
      {runs.length > 1 && <Legend runs={runs} />}
    </Modal>
  );
}

function PointTable({ series, axis }: { series: readonly PlotSeries[]; axis: string }) {
  return (
    <Table striped withTableBorder maw={640} fz="sm">
      <Table.Thead>
        <Table.Tr>
          {series.length > 1 && <Table.Th>Run</Table.Th>}
          <Table.Th>{axis === 'step' ? 'Step' : 'Seconds'}</Table.Th>
          <Table.Th>Last</Table.Th>
          <Table.Th>Min</Table.Th>
          <Table.Th>Max</Table.Th>
        </Table.Tr>
      </Table.Thead>
      <Table.Tbody>
        {series.flatMap(({ label, line }) =>
          line.x.slice(-TABLE_ROWS_MAX).map((x, at) => {
            const index = at + Math.max(0, line.x.length - TABLE_ROWS_MAX);
            return (
              <Table.Tr key={`${label} ${index}`}>
                {series.length > 1 && <Table.Td>{label}</Table.Td>}
                <Table.Td>{shownNumber(x)}</Table.Td>
                <Table.Td>{shownNumber(line.y[index] ?? 'NaN')}</Table.Td>
                <Table.Td>{shownNumber(line.low[index])}</Table.Td>
                <Table.Td>{shownNumber(line.high[index])}</Table.Td>
              </Table.Tr>
            );
          }),
        )}
      </Table.Tbody>
    </Table>
  );
}

export function Legend({ runs }: { runs: readonly { id: string; label: string; color: string }[] }) {
  return (
    <ul className={styles.legend}>
      {runs.map((run) => (
        <li key={run.id}>
          <i style={{ background: run.color }} aria-hidden="true" />
          {run.label}
        </li>
      ))}
    </ul>
  );
}
