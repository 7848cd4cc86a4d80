import { Badge, Button, ScrollArea, Text, TextInput } from '@mantine/core';
import { useState } from 'react';

import { useEnvironment, useServerInfo } from '../api/queries';
import type { Attempt, EnvironmentView, RunView } from '../api/types';
import { counted, shownBytes } from '../format/format';
import { Card, Facts } from '../shell/card';
import { Copy } from '../shell/copy';
import { Icon } from '../shell/icons';
import { Failure } from '../shell/notices';
import { Digest } from './code-card';
import styles from './overview.module.css';

/** What the run was executed in. */
export function EnvironmentCard({ run, attempt }: { run: RunView; attempt: Attempt | undefined }) {
  const reference = attempt?.environment ?? run.environment;
  const { data, error } = useEnvironment(reference, run.project);
  const server = useServerInfo();
  if (reference === null) {
    return (
      <Card title="Environment">
        <Text size="sm" c="dimmed">
          None was asked for, so it used the Python it was given
          {server.data ? ` (${server.data.python})` : ''}. Name an <code>environment</code> in the spec
          to have every package locked.
        </Text>
      </Card>
    );
  }
  return (
    <Card title="Environment" aside={<Badge variant="light" tt="none">{reference}</Badge>}>
      {error && <Failure error={error} />}
      {data && <Locked view={data} />}
    </Card>
  );
}

function Locked({ view }: { view: EnvironmentView }) {
  const { environment } = view;
  const packages = environment.lock.split('\n').filter(Boolean);
  const [open, setOpen] = useState(false);
  return (
    <>
      <Facts
        items={[
          ['Python', environment.python],
          ['Asked for', environment.pip.join(', ')],
          ['Lock', <Digest key="digest" text={environment.digest} what="the digest of the lock" />],
          ['Built', view.built ? `here, ${shownBytes(view.size_bytes)}` : 'not on this machine'],
        ]}
      />
      <Button
        mt="xs"
        size="compact-sm"
        variant="subtle"
        leftSection={<Icon name={open ? 'down' : 'right'} size={14} />}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {counted(packages.length, 'locked package')}
      </Button>
      {open && <Lock packages={packages} text={environment.lock} />}
    </>
  );
}

function Lock({ packages, text }: { packages: readonly string[]; text: string }) {
  const [search, setSearch] = useState('');
  const found = packages.filter((line) => line.toLowerCase().includes(search.trim().toLowerCase()));
  return (
    <div className={styles.lock}>
      <div className={styles.lockBar}>
        <TextInput
          size="xs"
          flex={1}
          placeholder="Find a package"
          aria-label="Find a package"
          leftSection={<Icon name="search" size={14} />}
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
        />
        <Copy text={text} what="the lock" />
      </div>
      <ScrollArea.Autosize mah={320} type="auto">
        <pre data-testid="lock">{found.join('\n') || 'No package matches.'}</pre>
      </ScrollArea.Autosize>
    </div>
  );
}
