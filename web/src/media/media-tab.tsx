import { Button, Group, SegmentedControl, Text, TextInput } from '@mantine/core';
import { useState } from 'react';

import { useMediaKeys } from '../api/queries';
import { isFinal, type MediaKind, type RunView } from '../api/types';
import { Icon } from '../shell/icons';
import { Failure, Notice, PageLoader } from '../shell/notices';
import { MediaCard } from './media-card';
import styles from './media.module.css';

const KINDS: { value: MediaKind | 'all'; label: string }[] = [
  { value: 'all', label: 'All' },
  { value: 'image', label: 'Images' },
  { value: 'histogram', label: 'Histograms' },
  { value: 'table', label: 'Tables' },
  { value: 'text', label: 'Texts' },
  { value: 'audio', label: 'Audio' },
];

/** What a run logged beside numbers: a card for each key and kind, which shows one step at a time. */
export function MediaTab({ run }: { run: RunView }) {
  const keys = useMediaKeys(run);
  const [search, setSearch] = useState('');
  const [kind, setKind] = useState<string>('all');
  const wanted = search.trim().toLowerCase();
  if (keys.isPending) return <PageLoader />;
  if (keys.error && !keys.data) return <Failure error={keys.error} />;
  const all = keys.data.pages.flatMap((page) => page.items);
  if (all.length === 0) return <NoMedia ended={isFinal(run.state)} />;
  const shown = all.filter(
    (one) => one.key.toLowerCase().includes(wanted) && (kind === 'all' || one.kind === kind),
  );
  return (
    <section aria-label="Media">
      <Group className={styles.bar} gap="lg">
        <TextInput
          size="xs"
          w={220}
          leftSection={<Icon name="search" size={14} />}
          placeholder="Find a key"
          aria-label="Find a key"
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
        />
        <SegmentedControl size="xs" aria-label="Kind" data={KINDS} value={kind} onChange={setKind} />
      </Group>
      <div className={styles.cards}>
        {shown.map((series) => (
          <MediaCard key={`${series.kind} ${series.key}`} run={run.id} series={series} />
        ))}
      </div>
      {shown.length === 0 && (
        <Text c="dimmed" p="lg">
          None of the keys that are loaded matches.
        </Text>
      )}
      {keys.hasNextPage && (
        <Button
          variant="default"
          size="xs"
          m="md"
          loading={keys.isFetchingNextPage}
          onClick={() => void keys.fetchNextPage()}
        >
          More keys
        </Button>
      )}
    </section>
  );
}

function NoMedia({ ended }: { ended: boolean }) {
  return (
    <Notice title={ended ? 'This run logged no media' : 'No media yet'}>
      <Text c="dimmed">
        Images, histograms, tables, texts and audio come from <code>seafloor.log_image</code> and its like, and
        from a <code>SummaryWriter</code> that writes to <code>$SEAFLOOR_EVENTS_DIR</code>.
      </Text>
    </Notice>
  );
}
