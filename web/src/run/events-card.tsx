import { Text } from '@mantine/core';

import { useEvents } from '../api/queries';
import type { RunEvent, RunView } from '../api/types';
import { shownClock, shownTime } from '../format/format';
import { Card } from '../shell/card';
import { Words } from '../shell/words';
import { Failure } from '../shell/notices';
import styles from './overview.module.css';

/** What happened, in the order it did. */
export function EventsCard({ run }: { run: RunView }) {
  const { data, error } = useEvents(run);
  return (
    <Card title="What happened">
      {error && !data && <Failure error={error} />}
      <ol className={styles.events}>
        {(data ?? []).map((event) => (
          <EventLine key={event.sequence} event={event} attempts={run.attempt} />
        ))}
      </ol>
      {data?.length === 0 && (
        <Text size="sm" c="dimmed">
          Nothing yet.
        </Text>
      )}
    </Card>
  );
}

function EventLine({ event, attempts }: { event: RunEvent; attempts: number }) {
  return (
    <li className={styles.event} data-kind={event.kind} data-state={event.state ?? undefined}>
      <time dateTime={new Date(event.time_ns / 1e6).toISOString()} title={shownTime(event.time_ns)}>
        {shownClock(event.time_ns)}
      </time>
      <span className={styles.eventDot} aria-hidden="true" />
      <span>
        {event.kind === 'warning' && <strong>Warning: </strong>}
        <Words text={event.message} />
        <span className={styles.actor}>
          {event.actor}
          {attempts > 1 && event.attempt !== null && `, attempt ${event.attempt}`}
        </span>
      </span>
    </li>
  );
}
