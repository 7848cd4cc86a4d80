import { Group, SegmentedControl, Slider, Switch, Text, TextInput, UnstyledButton } from '@mantine/core';
import { useLocalStorage } from '@mantine/hooks';
import { useState } from 'react';

import { counted } from '../format/format';
import { Icon } from '../shell/icons';
import { ChartCard, type ChartRun } from './chart-card';
import type { PlotOptions } from './plot';
import { grouped, type Axis } from './series';
import styles from './charts.module.css';

const USUAL: PlotOptions = { axis: 'step', logarithmic: false, smoothing: 0 };
const AXES: { value: Axis; label: string }[] = [
  { value: 'step', label: 'Step' },
  { value: 'relative', label: 'Relative' },
  { value: 'wall', label: 'Wall time' },
];

interface Props {
  /** Metric to the runs that have it. */
  metrics: ReadonlyMap<string, readonly ChartRun[]>;
}

/** All metrics as charts, in groups, with the controls that hold for all of them. */
export function ChartGrid({ metrics }: Props) {
  const [options, setOptions] = useLocalStorage<PlotOptions>({ key: 'seafloor.charts', defaultValue: USUAL });
  const [search, setSearch] = useState('');
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const wanted = search.trim().toLowerCase();
  const keys = [...metrics.keys()].filter((key) => key.toLowerCase().includes(wanted));
  function change(next: Partial<PlotOptions>) {
    setOptions({ ...options, ...next });
  }
  function toggle(group: string) {
    const next = new Set(closed);
    if (!next.delete(group)) next.add(group);
    setClosed(next);
  }
  return (
    <>
      <Group className={styles.bar} gap="lg">
        <TextInput
          size="xs"
          w={220}
          leftSection={<Icon name="search" size={14} />}
          placeholder="Find a metric"
          aria-label="Find a metric"
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
        />
        <SegmentedControl
          size="xs"
          aria-label="Horizontal axis"
          data={AXES}
          value={options.axis}
          onChange={(axis) => change({ axis: axis as Axis })}
        />
        <Switch
          size="xs"
          label="Log scale"
          checked={options.logarithmic}
          onChange={(event) => change({ logarithmic: event.currentTarget.checked })}
        />
        <Group gap="xs" wrap="nowrap">
          <Text size="xs" id="smoothing">
            Smoothing
          </Text>
          <Slider
            w={130}
            size="sm"
            min={0}
            max={0.99}
            step={0.01}
            thumbProps={{ 'aria-labelledby': 'smoothing' }}
            label={(value) => value.toFixed(2)}
            value={options.smoothing}
            onChange={(smoothing) => change({ smoothing })}
          />
          <Text size="xs" c="dimmed" w={28}>
            {options.smoothing.toFixed(2)}
          </Text>
        </Group>
      </Group>
      {keys.length === 0 && (
        <Text c="dimmed" p="lg">
          No metric matches “{search}”.
        </Text>
      )}
      {grouped(keys).map(([group, members]) => (
        <section key={group} className={styles.group}>
          <UnstyledButton
            className={styles.groupTitle}
            aria-expanded={!closed.has(group)}
            onClick={() => toggle(group)}
          >
            <Icon name={closed.has(group) ? 'right' : 'down'} size={14} />
            {group || 'Metrics'}
            <span>{counted(members.length, 'metric')}</span>
          </UnstyledButton>
          {!closed.has(group) && (
            <div className={styles.grid}>
              {members.map((key) => (
                <ChartCard key={key} metric={key} runs={metrics.get(key) ?? []} options={options} />
              ))}
            </div>
          )}
        </section>
      ))}
    </>
  );
}
