import { Alert, Anchor, Code, Text } from '@mantine/core';
import { Link } from 'wouter';

import { useAttempts } from '../api/queries';
import type { RunView } from '../api/types';
import { inNaturalOrder, shownNumber } from '../format/format';
import { Card, Facts } from '../shell/card';
import { Copy } from '../shell/copy';
import { AttemptsCard } from './attempts-card';
import { CodeCard } from './code-card';
import { EnvironmentCard } from './environment-card';
import { EventsCard } from './events-card';
import { commandOf, limitsOf, variablesOf } from './spec';
import styles from './overview.module.css';

const METRICS_SHOWN = 8;

/** What ran, in what, from where, and what happened. */
export function OverviewTab({ run }: { run: RunView }) {
  const attempts = useAttempts(run);
  const newest = attempts.data?.at(-1);
  const command = commandOf(run.spec);
  const variables = variablesOf(run.spec);
  return (
    <div className={styles.grid}>
      <div className={styles.column}>
        {run.origin === 'tracked' && (
          <Alert color="gray" variant="light">
            An outside client executes this run and tracks it here. Code, environment and log are kept
            for runs that Seafloor starts.
          </Alert>
        )}
        {command !== null && (
          <Card title="Command" aside={<Copy text={command} what="the command" />}>
            <Code block className={styles.command}>
              {command}
            </Code>
          </Card>
        )}
        {(run.code !== null || run.origin === 'launched') && (
          <CodeCard code={run.code} receipts={newest?.receipts ?? {}} />
        )}
        {run.origin === 'launched' && <EnvironmentCard run={run} attempt={newest} />}
        <PairsCard title="Params" pairs={run.params} none="No params were logged." />
        {Object.keys(run.tags).length > 0 && <PairsCard title="Tags" pairs={run.tags} />}
        <LimitsCard run={run} />
        {Object.keys(variables).length > 0 && <PairsCard title="Variables" pairs={variables} />}
      </div>
      <div className={styles.column}>
        <MetricsCard run={run} />
        <EventsCard run={run} />
        <AttemptsCard attempts={attempts.data ?? []} />
      </div>
    </div>
  );
}

interface PairsProps {
  title: string;
  pairs: Record<string, string>;
  none?: string;
}

function PairsCard({ title, pairs, none }: PairsProps) {
  const keys = inNaturalOrder(Object.keys(pairs));
  return (
    <Card title={title}>
      {keys.length === 0 ? (
        <Text size="sm" c="dimmed">
          {none}
        </Text>
      ) : (
        <Facts items={keys.map((key) => [key, pairs[key]] as const)} />
      )}
    </Card>
  );
}

function LimitsCard({ run }: { run: RunView }) {
  const limits = limitsOf(run.spec);
  if (limits.length === 0) return null;
  return (
    <Card title="Resources">
      <Facts items={limits} />
    </Card>
  );
}

function MetricsCard({ run }: { run: RunView }) {
  const keys = inNaturalOrder(Object.keys(run.metrics));
  if (keys.length === 0) return null;
  const more = keys.length - METRICS_SHOWN;
  return (
    <Card
      title="Metrics"
      aside={
        <Anchor component={Link} href={`/runs/${run.id}/charts`} size="sm">
          Charts
        </Anchor>
      }
    >
      <table className={styles.metrics}>
        <thead>
          <tr>
            <th scope="col">Metric</th>
            <th scope="col">Last</th>
            <th scope="col">Min</th>
            <th scope="col">Max</th>
            <th scope="col">Step</th>
          </tr>
        </thead>
        <tbody>
          {keys.slice(0, METRICS_SHOWN).map((key) => {
            const metric = run.metrics[key];
            return (
              <tr key={key}>
                <th scope="row">{key}</th>
                <td>{shownNumber(metric?.last)}</td>
                <td>{shownNumber(metric?.min)}</td>
                <td>{shownNumber(metric?.max)}</td>
                <td>{shownNumber(metric?.last_step)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {more > 0 && (
        <Text size="sm" c="dimmed" mt={6}>
          and {more} more
        </Text>
      )}
    </Card>
  );
}
