import type { Ending, RunState } from '../api/types';
import styles from './state-badge.module.css';

export function StateBadge({ state, ending }: { state: RunState; ending?: Ending | null }) {
  return (
    <span className={styles.badge} data-state={state} title={ending?.reason || undefined}>
      <span className={styles.dot} aria-hidden="true" />
      {state}
    </span>
  );
}
