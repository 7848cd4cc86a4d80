import type { RunView } from '../api/types';

export function ArtifactsTab({ run }: { run: RunView }) {
  return <pre>{run.id}</pre>;
}
