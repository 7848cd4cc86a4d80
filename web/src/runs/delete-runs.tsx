import { Button, Group, List, Modal, Text } from '@mantine/core';

import { isFinal, type RunView } from '../api/types';
import { counted } from '../format/format';

const NAMED_MAX = 6;

interface Props {
  /** Empty: nothing is asked. */
  runs: readonly RunView[];
  onClose: () => void;
  onDelete: () => void;
}

/** Asks before runs are deleted. */
export function DeleteRuns({ runs, onClose, onDelete }: Props) {
  const living = runs.filter((run) => !isFinal(run.state)).length;
  return (
    <Modal opened={runs.length > 0} onClose={onClose} title={`Delete ${counted(runs.length, 'run')}?`} centered>
      <List size="sm" mb="sm">
        {runs.slice(0, NAMED_MAX).map((run) => (
          <List.Item key={run.id}>{run.name}</List.Item>
        ))}
        {runs.length > NAMED_MAX && <List.Item>and {runs.length - NAMED_MAX} more</List.Item>}
      </List>
      {living > 0 && (
        <Text size="sm" c="orange" mb="sm">
          {counted(living, 'run')} of these {living === 1 ? 'has' : 'have'} not ended yet.
        </Text>
      )}
      <Text size="sm" c="dimmed" mb="lg">
        Deleted runs can be restored until they are purged.
      </Text>
      <Group justify="flex-end">
        <Button variant="default" onClick={onClose}>
          Keep
        </Button>
        <Button color="red" onClick={onDelete} data-autofocus>
          Delete
        </Button>
      </Group>
    </Modal>
  );
}
