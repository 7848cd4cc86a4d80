import { Text } from '@mantine/core';
import { useMemo } from 'react';

import { useMetrics } from '../api/queries';
import { isFinal, type RunView } from '../api/types';
import type { ChartRun } from '../charts/chart-card';
import { ChartGrid } from '../charts/chart-grid';
import { colorOf } from '../charts/palette';
import { Failure, Notice, PageLoader } from '../shell/notices';

/** Every metric of a run as a live chart. */
export function ChartsTab({ run }: { run: RunView }) {
  const { data, error, isPending } = useMetrics(run);
  const originMs = (run.started_ns ?? run.created_ns) / 1e6;
  const metrics = useMemo(() => {
    const found = new Map<string, ChartRun[]>();
    for (const [key, metric] of Object.entries(data ?? {})) {
      found.set(key, [{ id: run.id, label: run.name, color: colorOf(0), originMs, metric }]);
    }
    return found;
  }, [data, run.id, run.name, originMs]);
  if (isPending) return <PageLoader />;
  if (error && !data) return <Failure error={error} />;
  if (metrics.size === 0) return <NoMetrics ended={isFinal(run.state)} />;
  return <ChartGrid metrics={metrics} />;
}

function NoMetrics({ ended }: { ended: boolean }) {
  return (
    <Notice title={ended ? 'This run logged no metrics' : 'No metrics yet'}>
      <Text c="dimmed">
        They come from <code>mlflow.log_metric</code>, from a <code>SummaryWriter</code> that writes to{' '}
        <code>$SEAFLOOR_EVENTS_DIR</code>, or from <code>seafloor.log_metrics</code>.
      </Text>
    </Notice>
  );
}
