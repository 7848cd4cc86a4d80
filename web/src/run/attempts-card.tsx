import type { Attempt, Ending } from '../api/types';
import { shownDuration, shownTime } from '../format/format';
import { StateBadge } from '../runs/state-badge';
import { Card } from '../shell/card';
import styles from './overview.module.css';

/** Every start of the run, the newest first. */
export function AttemptsCard({ attempts }: { attempts: readonly Attempt[] }) {
  if (attempts.length === 0) return null;
  return (
    <Card title={attempts.length === 1 ? 'Attempt' : 'Attempts'}>
      <table className={styles.attempts}>
        <thead>
          <tr>
            <th scope="col">#</th>
            <th scope="col">State</th>
            <th scope="col">Started</th>
            <th scope="col">Took</th>
            <th scope="col">Ended by</th>
          </tr>
        </thead>
        <tbody>
          {[...attempts].reverse().map((attempt) => (
            <tr key={attempt.number}>
              <td>{attempt.number}</td>
              <td>
                <StateBadge state={attempt.state} />
              </td>
              <td>{shownTime(attempt.started_ns)}</td>
              <td>{shownDuration(duration(attempt))}</td>
              <td>{attempt.ending && shownEnding(attempt.ending)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}

function duration({ started_ns, ended_ns }: Attempt): number | null {
  return started_ns === null || ended_ns === null ? null : (ended_ns - started_ns) / 1e9;
}

/** Signal or exit code, and the reason if there is more to say. */
export function shownEnding(ending: Ending): string {
  const parts = [
    ending.signal ?? null,
    typeof ending.exit_code === 'number' ? `exit code ${ending.exit_code}` : null,
    ending.timed_out ? 'timeout' : null,
    ending.memory_exceeded ? 'memory limit' : null,
  ].filter((part) => part !== null);
  const how = parts.join(', ');
  if (!ending.reason || ending.exit_code === 0) return how || '–';
  return how === '' ? ending.reason : `${how}: ${ending.reason}`;
}
