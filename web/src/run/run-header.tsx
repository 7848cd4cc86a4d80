import { Anchor, Button, Group, Text, Title } from '@mantine/core';
import { useState } from 'react';
import { Link, useLocation } from 'wouter';

import { shownError } from '../api/client';
import { useRunAction } from '../api/queries';
import { isFinal, type RunView } from '../api/types';
import { shownDuration, shownTime } from '../format/format';
import { DeleteRuns } from '../runs/delete-runs';
import { StateBadge } from '../runs/state-badge';
import { Copy } from '../shell/copy';
import { Icon } from '../shell/icons';
import { Words } from '../shell/words';
import styles from './run.module.css';

/** What a run is and how it stands, with what can be done to it. */
export function RunHeader({ run }: { run: RunView }) {
  const action = useRunAction();
  const [deleting, setDeleting] = useState(false);
  const [, navigate] = useLocation();
  const ended = isFinal(run.state);
  const deleted = run.deleted_ns !== null;
  const ids = [run.id];
  return (
    <header className={styles.header}>
      <Text size="sm" c="dimmed">
        <Anchor component={Link} href="/runs" size="sm" c="dimmed">
          Runs
        </Anchor>
        {' / '}
        <Anchor component={Link} href={`/runs?experiment=${run.experiment.id}`} size="sm" c="dimmed">
          {run.experiment.name}
        </Anchor>
      </Text>
      <Group gap="sm" wrap="nowrap" align="center">
        <Title order={1} size="h3" className={styles.name}>
          {run.name}
        </Title>
        <StateBadge state={run.state} ending={run.ending} />
        <Group gap="xs" ml="auto" wrap="nowrap">
          {deleted && (
            <Button size="xs" loading={action.isPending} onClick={() => action.mutate({ ids, action: 'restore' })}>
              Restore
            </Button>
          )}
          {!ended && !deleted && (
            <Button
              size="xs"
              variant="default"
              leftSection={<Icon name="stop" size={14} />}
              disabled={run.state === 'stopping'}
              loading={action.isPending}
              onClick={() => action.mutate({ ids, action: 'stop' })}
            >
              Stop
            </Button>
          )}
          {ended && !deleted && run.origin === 'launched' && (
            <Button
              size="xs"
              leftSection={<Icon name="again" size={14} />}
              loading={action.isPending}
              onClick={() => action.mutate({ ids, action: 'again' })}
            >
              Run again
            </Button>
          )}
          {ended && !deleted && (
            <Button size="xs" variant="default" leftSection={<Icon name="trash" size={14} />} onClick={() => setDeleting(true)}>
              Delete
            </Button>
          )}
        </Group>
      </Group>
      <Group gap="lg" mt={2}>
        <Fact label="id">
          <code>{run.id}</code> <Copy text={run.id} what="the id" />
        </Fact>
        {run.user && <Fact label="by">{run.user}</Fact>}
        <Fact label="started">{shownTime(run.started_ns)}</Fact>
        <Fact label={ended ? 'took' : 'for'}>{shownDuration(run.duration_s)}</Fact>
        {run.attempt > 1 && <Fact label="attempt">{run.attempt}</Fact>}
      </Group>
      {deleted && (
        <Text size="sm" mt={6} className={styles.reason}>
          This run was deleted {shownTime(run.deleted_ns)}. It can be restored until it is purged.
        </Text>
      )}
      {run.ending?.reason && ended && run.state !== 'succeeded' && (
        <Text size="sm" mt={6} className={styles.reason} data-state={run.state}>
          <Words text={run.ending.reason} />
        </Text>
      )}
      {action.error && (
        <Text size="sm" c="red" role="alert">
          {shownError(action.error)}
        </Text>
      )}
      <DeleteRuns
        runs={deleting ? [run] : []}
        onClose={() => setDeleting(false)}
        onDelete={() => action.mutate({ ids, action: 'delete' }, { onSuccess: () => navigate('/runs') })}
      />
    </header>
  );
}

function Fact({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <Text size="sm" component="span" className={styles.fact}>
      <span>{label}</span> {children}
    </Text>
  );
}
