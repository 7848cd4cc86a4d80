import type { RunView } from '../api/types';

export function OverviewTab({ run }: { run: RunView }) {
  return <pre>{run.id}</pre>;
}
