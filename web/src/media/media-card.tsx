import { ActionIcon, Button, Group, Loader, NumberInput, Slider, Text } from '@mantine/core';
import { useIntersection } from '@mantine/hooks';
import { useState } from 'react';

import { useMediaStep, type MediaPlace } from '../api/queries';
import type { MediaSeries } from '../api/types';
import { counted, grouped } from '../format/format';
import { Icon } from '../shell/icons';
import { Failure } from '../shell/notices';
import { MediaItem } from './media-item';
import styles from './media.module.css';

interface Props {
  run: string;
  series: MediaSeries;
}

/** The records of one key and kind, a step at a time. It asks for them when it comes into view. */
export function MediaCard({ run, series }: Props) {
  const { ref, entry } = useIntersection({ rootMargin: '200px' });
  const [chosen, setChosen] = useState<MediaPlace | null>(null);
  const place = chosen ?? { step: series.step_max, from: 'down' }; // the newest, also while it grows
  const found = useMediaStep(run, series, place, entry?.isIntersecting ?? false);
  const pages = found.data?.pages ?? [];
  const step = pages[0]?.step ?? null;
  const items = pages.flatMap((page) => page.items);
  return (
    <section
      ref={ref}
      className={styles.card}
      aria-label={series.key}
      data-kind={series.kind}
      data-step={step ?? undefined}
      data-wide={series.kind === 'table' || undefined}
    >
      <Group className={styles.caption} gap="xs" wrap="nowrap">
        <Text size="sm" fw={600} truncate title={series.key}>
          {series.key}
        </Text>
        <Text size="xs" c="dimmed" ml="auto" className={styles.noWrap}>
          {counted(series.records, series.kind === 'audio' ? 'sound' : series.kind)}
        </Text>
      </Group>
      {series.step_max > series.step_min && (
        <Steps series={series} step={step ?? place.step} onChange={setChosen} />
      )}
      {found.error && !found.data && <Failure error={found.error} />}
      {found.isPending && <Loader size="xs" type="dots" m="md" />}
      <div className={styles.items}>
        {items.map((record) => (
          <MediaItem
            key={`${record.step} ${record.time_ms} ${record.place} ${record.blob?.sha256 ?? ''}`}
            run={run}
            record={record}
          />
        ))}
      </div>
      {found.hasNextPage && (
        <Button
          variant="default"
          size="compact-xs"
          loading={found.isFetchingNextPage}
          onClick={() => void found.fetchNextPage()}
        >
          More of this step
        </Button>
      )}
    </section>
  );
}

interface StepsProps {
  series: MediaSeries;
  step: number;
  onChange: (place: MediaPlace) => void;
}

/** Steps need not follow one another: each way of choosing one goes to the next that has something. */
function Steps({ series, step, onChange }: StepsProps) {
  const { step_min: min, step_max: max } = series;
  const [dragged, setDragged] = useState<number | null>(null);
  const within = (value: number) => Math.min(max, Math.max(min, value));
  return (
    <Group gap={6} wrap="nowrap" className={styles.steps}>
      <ActionIcon
        size="sm"
        variant="subtle"
        color="gray"
        aria-label={`Step before of ${series.key}`}
        disabled={step <= min}
        onClick={() => onChange({ step: within(step - 1), from: 'down' })}
      >
        <span className={styles.before}>
          <Icon name="right" size={14} />
        </span>
      </ActionIcon>
      <Slider
        flex={1}
        size="sm"
        min={min}
        max={max}
        label={grouped}
        thumbProps={{ 'aria-label': `Step of ${series.key}` }}
        value={dragged ?? step}
        onChange={setDragged}
        onChangeEnd={(value) => {
          setDragged(null);
          // Against the direction of a key it would stay where it is.
          if (value !== step) onChange({ step: value, from: value > step ? 'up' : 'down' });
        }}
      />
      <ActionIcon
        size="sm"
        variant="subtle"
        color="gray"
        aria-label={`Step after of ${series.key}`}
        disabled={step >= max}
        onClick={() => onChange({ step: within(step + 1), from: 'up' })}
      >
        <Icon name="right" size={14} />
      </ActionIcon>
      <NumberInput
        size="xs"
        w={86}
        hideControls
        allowDecimal={false}
        aria-label={`Go to step of ${series.key}`}
        key={step}
        defaultValue={step}
        onKeyDown={(event) => {
          const typed = Number(event.currentTarget.value);
          if (event.key === 'Enter' && Number.isSafeInteger(typed)) onChange({ step: within(typed), from: 'up' });
        }}
      />
    </Group>
  );
}
