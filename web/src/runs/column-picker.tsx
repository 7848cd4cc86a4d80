import { ActionIcon, Button, Checkbox, Group, Popover, ScrollArea, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';

import { Icon } from '../shell/icons';
import type { RunColumn } from './columns';

const GROUPS = [
  ['run', 'Run'],
  ['metrics', 'Metrics'],
  ['params', 'Params'],
] as const;

interface Props {
  columns: readonly RunColumn[];
  shown: readonly string[];
  /** `null`: back to what is usual. */
  onChange: (shown: string[] | null) => void;
}

/** Chooses the columns of the table. */
export function ColumnPicker({ columns, shown, onChange }: Props) {
  const [search, setSearch] = useState('');
  const found = columns.filter((column) =>
    column.label.toLowerCase().includes(search.trim().toLowerCase()),
  );
  function toggle(id: string, on: boolean) {
    onChange(on ? [...shown, id] : shown.filter((one) => one !== id));
  }
  return (
    <Popover position="bottom-end" width={300} shadow="md" trapFocus>
      <Popover.Target>
        <Button variant="default" leftSection={<Icon name="columns" />}>
          Columns
        </Button>
      </Popover.Target>
      <Popover.Dropdown p="xs">
        <Group gap="xs" wrap="nowrap" mb="xs">
          <TextInput
            size="xs"
            flex={1}
            placeholder="Find a column"
            aria-label="Find a column"
            value={search}
            onChange={(event) => setSearch(event.currentTarget.value)}
            rightSection={
              search && (
                <ActionIcon
                  size="xs"
                  variant="transparent"
                  color="gray"
                  aria-label="Clear"
                  onClick={() => setSearch('')}
                >
                  <Icon name="close" size={12} />
                </ActionIcon>
              )
            }
          />
          <Button size="xs" variant="subtle" onClick={() => onChange(null)}>
            Reset
          </Button>
        </Group>
        <ScrollArea.Autosize mah={380} type="auto">
          {GROUPS.map(([group, title]) => {
            const members = found.filter((column) => column.group === group);
            if (members.length === 0) return null;
            return (
              <Stack key={group} gap={6} mb="sm" role="group" aria-label={title}>
                <Text size="xs" c="dimmed" fw={600}>
                  {title}
                </Text>
                {members.map((column) => (
                  <Checkbox
                    key={column.id}
                    size="xs"
                    label={column.label}
                    checked={shown.includes(column.id)}
                    onChange={(event) => toggle(column.id, event.currentTarget.checked)}
                  />
                ))}
              </Stack>
            );
          })}
        </ScrollArea.Autosize>
      </Popover.Dropdown>
    </Popover>
  );
}
